"""`edgewise demo`: every process of edgewise on this machine, supervised, with a view of what happens."""
