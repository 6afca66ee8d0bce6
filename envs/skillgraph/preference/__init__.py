"""Preference tasks after BASALT (Shah et al., 2021): no reward, judged by what stands in the world at the end."""
