"""What a device can tell of its power, heat and speed; one file per kernel interface or vendor.

Each file has plain readers that take the root folder. ``sensors.survey`` lists what works and, for what does not, why.
"""
