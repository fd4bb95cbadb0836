"""edgewise: an event-driven engine in which language models trade crypto perpetuals side by side."""
