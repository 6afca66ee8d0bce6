"""The large world: the whole tech tree, four layers, fourteen biomes, animals and monsters, hunger, wear, furnaces that take time."""
