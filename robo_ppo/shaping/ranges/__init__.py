"""`target=randomization`: what training varies, refined by the loop that refines rewards."""
