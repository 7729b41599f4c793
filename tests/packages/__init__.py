"""Real packages on this library. `make packages` installs them; without them these tests are skipped."""
