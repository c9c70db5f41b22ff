"""The status service: owns campaigns, and closes each exactly once."""
