"""`Allocation/EdgeOffloading-v0`: mobile users run the tasks of their applications on their device, on edge servers or in the cloud."""
