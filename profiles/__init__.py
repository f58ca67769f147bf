"""Where, and under which limits: one TOML file an environment."""
