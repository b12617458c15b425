"""``muster demo``: the whole loop on this machine, with three emulated devices, through the public interface only.

In scope: starting a controller and three agents as processes, telling the story, and the figures at its end.
Not in scope: any shortcut; what the demo does a user can do with the same calls.
"""
