"""Pictures of the pages of the dashboard and the portal, for the documentation and for a look at all of them."""
