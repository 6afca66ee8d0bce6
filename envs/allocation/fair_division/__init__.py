"""`Allocation/FairDivision-v0`: items arrive one by one and are handed out at once; everyone is owed a maximin share."""
