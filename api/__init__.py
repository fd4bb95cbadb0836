"""The read-only HTTP service: leaderboard, analytics and everything the engine has written down."""
