# Not in isaacgym-stubs: torch tensors in and out of Isaac Gym's descriptors.
from torch import Tensor

from . import gymapi

def wrap_tensor(gym_tensor: gymapi.Tensor) -> Tensor: ...
def unwrap_tensor(torch_tensor: Tensor) -> gymapi.Tensor: ...
