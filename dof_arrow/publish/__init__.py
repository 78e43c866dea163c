"""Publishing a dataset: its card, its description for catalogues, hubs and stores."""
