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
    "TaskGraph": {
        "env": "task_graph.env:TaskGraph",
        "description": "Workers with capabilities and prices carry out a graph of tasks in parallel: plans, crews, kitchens.",
        "score": "score",
        "direction": "min",
    },
    "JobShop": {
        "env": "job_shop.env:JobShop",
        "description": "Machines choose which of the waiting operations comes next; job shops with planted and published optima.",
        "score": "score",
        "direction": "min",
    },
    "Cluster": {
        "env": "cluster.env:Cluster",
        "description": "Nodes of a cluster balance their load: tasks are forwarded as they arrive and migrated while they run.",
        "agents_argument": "nodes",
        "score": "score",
        "direction": "min",
    },
    "BoxNet1": {
        "env": "box_net.env:BoxNet1",
        "description": "Arms in a grid of cells hand coloured boxes on from cell to cell until each is in a goal.",
        "score": "score",
        "direction": "min",
    },
    "BoxNet2": {
        "env": "box_net.corners:BoxNet2",
        "description": "Arms in a grid move coloured boxes from corner to corner, where their motions can collide.",
        "score": "score",
        "direction": "min",
    },
    "BoxLift": {
        "env": "box_lift.env:BoxLift",
        "description": "Lifters of different strength join to lift boxes whose weight they do not know.",
        "score": "score",
        "direction": "min",
    },
    "Warehouse": {
        "env": "warehouse.env:Warehouse",
        "description": "Robots on narrow tracks bring boxes from shelves to the dispatch without collisions.",
        "score": "score",
        "direction": "min",
    },
    "WindFarm": {
        "env": "wind_farm.env:WindFarm",
        "description": "Eight turbines turn with the wind and stand in each other's wakes; the Gaussian wake model, as in FLORIS.",
        "score": "score",
        "direction": "max",
    },
    "WildfireResources": {
        "env": "wildfire_resources.env:WildfireResources",
        "description": "Nine towers send crews to their own sector and to their neighbours while a fire moves through the forest.",
        "score": "score",
        "direction": "max",
    },
    "AerialWildfire": {
        "env": "aerial_wildfire.env:AerialWildfire",
        "description": "Three planes scoop water from the sea and drop it on a burning island; nine tasks.",
        "score": "score",
        "direction": "max",
    },
    "EdgeOffloading": {
        "env": "edge_offloading.env:EdgeOffloading",
        "description": "Mobile users run DAGs of tasks on their device, on edge servers with queues or in the cloud; 2 to 262,144 users.",
        "agents_argument": "users",
        "score": "score",
        "direction": "min",
    },
    "Stragglers": {
        "env": "stragglers.env:Stragglers",
        "description": "Workers compute gradients that are due in a few rounds; some are late, and replicas or codes make up for them.",
        "score": "score",
        "direction": "min",
    },
    "Reforestation": {
        "env": "reforestation.env:Reforestation",
        "description": "Three drones carry seeds from a base to fertile ground, or look for forest, soil and peaks; seven tasks.",
        "score": "score",
        "direction": "max",
    },
    "OceanPlastic": {
        "env": "ocean_plastic.env:OceanPlastic",
        "description": "Three boats with nets collect plastic that drifts with the current; four tasks, ten levels.",
        "score": "score",
        "direction": "max",
    },
    **routing_rooms(),
}
