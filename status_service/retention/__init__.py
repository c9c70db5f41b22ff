"""What is kept of campaigns that have ended, and for how long."""
