"""What may go wrong in flight, what then happens, and the law that brings the vehicle down without the policy."""
