"""The command line of the agent: argparse only, and each command imports what it needs when it runs."""
