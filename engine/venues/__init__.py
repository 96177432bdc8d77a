"""Where orders go: adapters to exchanges, and the practice exchange."""
