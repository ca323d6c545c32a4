"""The Crazyflie 2.x, a 33 g quadrotor."""
