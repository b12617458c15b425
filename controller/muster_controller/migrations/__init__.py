"""The history of the store's tables; run at start-up by ``adapters.store_sqlalchemy``."""
