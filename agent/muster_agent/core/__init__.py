"""The agent's rules, pure: no clock, no files, no threads; everything comes in as an argument."""
