"""What a diagnosis finds out about a policy: the `packet`, how it is measured and drawn, and rules that flag hacks."""
