"""Other projects' quantizers, palette searches and runtimes, each called as its own users call it."""
