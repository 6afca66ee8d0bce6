"""The ids of the family: a row each. Imports tables alone: the catalog reads it when `envs` is imported."""

from typing import Any

from envs.allocation.routing.variants import rooms as routing_rooms

# Name -> what `catalog.register` takes: entry point below `envs.allocation`, description, and what else there is to say. Every room states
# its score in `metrics["score"]`; `direction` is "min" for costs.
ROOMS: dict[str, dict[str, Any]] = {
    "Couriers": {
        "env": "couriers.env:Couriers",
        "description": "Two to eight couriers fetch and deliver parcels before their deadlines, each on one battery.",
        "config": "couriers_ppo",
    },
    "FairDivision": {
        "env": "fair_division.env:FairDivision",
        "description": "Goods or chores arrive one by one and are handed out at once; everybody is owed a maximin share.",
        "score": "score",
        "direction": "max",
    },
    **routing_rooms(),
}
