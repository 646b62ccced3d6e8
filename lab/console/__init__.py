"""What every command shares: how it speaks, what it refuses, and how it ends."""
