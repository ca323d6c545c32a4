"""Stand-ins for as much of ROS 2 as `docs/ros2.md` uses: topics and services are calls, and a thread delivers them.

graph = Graph()
monkeypatch.setitem(sys.modules, name, module) for name, module in graph.modules().items()
"""

import queue
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

Delivery = tuple[Callable[[Any], object], Any]


class Message(SimpleNamespace):
    """A message: fields by keyword, and whatever else is asked of it becomes a message."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = Message()
        setattr(self, name, value)
        return value


class State(Message):
    def __init__(self, **fields: object) -> None:
        super().__init__(**{"connected": False, "armed": False, "mode": "", **fields})


class AttitudeTarget(Message):
    IGNORE_ATTITUDE = 128


class Node:
    def __init__(self, graph: "Graph", name: str) -> None:
        self._graph = graph

    def create_subscription(self, kind: type, topic: str, callback: Callable[[Any], object], qos: object) -> None:
        assert not self._graph.spins, "a node must not grow while another thread spins it"
        self._graph.subscribed[topic] = (kind, callback, qos)

    def create_publisher(self, kind: type, topic: str, qos: int) -> SimpleNamespace:
        return SimpleNamespace(publish=lambda message: self._graph.published(topic, message))

    def create_client(self, kind: type, service: str) -> SimpleNamespace:
        return SimpleNamespace(call_async=lambda request: self._graph.called(service, request))

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: "now"))


class Graph:
    """Everything that a node is connected to; replace `published` and `called` to hear what it says."""

    def __init__(self) -> None:
        self.subscribed: dict[str, tuple[type, Callable[[Any], object], object]] = {}
        self.published: Callable[[str, Any], object] = lambda topic, message: None
        self.called: Callable[[str, Any], object] = lambda service, request: None
        self.spins = False
        self._deliveries: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()

    def deliver(self, topic: str, message: Any) -> None:
        """Have the executor's thread call back the subscriber of a topic."""
        if topic in self.subscribed:
            self._deliveries.put((self.subscribed[topic][1], message))

    def modules(self) -> dict[str, ModuleType]:
        """By the names that they are imported by."""
        graph = self
        thread: list[threading.Thread] = []

        class Executor:
            def add_node(self, node: Node) -> None:
                assert isinstance(node, Node)

            def spin(self) -> None:
                thread.append(threading.current_thread())
                graph.spins = True
                while (delivery := graph._deliveries.get()) is not None:
                    delivery[0](delivery[1])
                graph.spins = False

            def shutdown(self) -> None:
                graph._deliveries.put(None)

        nothing: Callable[[], None] = lambda: None  # noqa: E731
        contents: dict[str, dict[str, object]] = {
            "rclpy": {"init": nothing, "shutdown": nothing},
            "rclpy.node": {"Node": lambda name: Node(graph, name)},
            "rclpy.executors": {"SingleThreadedExecutor": Executor},
            "rclpy.qos": {"qos_profile_sensor_data": "best effort"},
            "nav_msgs": {},
            "nav_msgs.msg": {"Odometry": Message},
            "mavros_msgs": {},
            "mavros_msgs.msg": {"AttitudeTarget": AttitudeTarget, "State": State},
            "mavros_msgs.srv": {
                "CommandBool": SimpleNamespace(Request=Message),
                "SetMode": SimpleNamespace(Request=Message),
            },
        }
        modules = {name: ModuleType(name) for name in contents}
        for name, module in modules.items():
            vars(module).update(contents[name])
        return modules
