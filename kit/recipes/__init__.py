"""The recipes that come with the kit, a YAML file each."""
