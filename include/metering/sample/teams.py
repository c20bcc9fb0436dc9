"""The teams of the sample: where they are, what they pay in, how large they are, and what is unusual about each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleTeam:
    """`size` scales a team's usage in percent; `search_exactly` puts its search requests on a tier's bound."""

    key: str
    name: str
    time_zone: str
    size: int
    currency: str = "USD"
    anchor_day: int = 1
    storage_every_hours: int = 6
    products: tuple[str, ...] = ("api", "storage", "compute")
    search_exactly: int | None = None

    @property
    def plan(self) -> str:
        """The plan of its subscription: one for each currency."""
        return f"standard-{self.currency.lower()}"


TEAMS = (
    SampleTeam("acme", "Acme", "UTC", 100, storage_every_hours=1),
    SampleTeam("annapurna", "Annapurna Trekking", "Asia/Kathmandu", 60, products=("api", "storage")),
    SampleTeam("bengaluru-labs", "Bengaluru Labs", "Asia/Kolkata", 140, storage_every_hours=1),
    SampleTeam("berlin-mobil", "Berlin Mobil", "Europe/Berlin", 80, products=("api", "storage")),
    SampleTeam("brooklyn-bakes", "Brooklyn Bakes", "America/New_York", 30, products=("api",)),
    SampleTeam("cape-spear", "Cape Spear Weather", "America/St_Johns", 45, products=("api",)),
    SampleTeam("chatham", "Chatham Fisheries", "Pacific/Chatham", 25, products=("storage",)),
    SampleTeam("delhi-express", "Delhi Express", "Asia/Kolkata", 70, anchor_day=15, products=("api", "storage")),
    SampleTeam("edo-games", "Edo Games", "Asia/Tokyo", 130, currency="JPY"),
    SampleTeam("first-tier", "First Tier", "UTC", 20, search_exactly=10_000, products=("api",)),
    SampleTeam(
        "fuji-cloud", "Fuji Cloud", "Asia/Tokyo", 90, currency="JPY", storage_every_hours=1, products=("api", "storage")
    ),
    SampleTeam("gotham-data", "Gotham Data", "America/New_York", 160),
    SampleTeam("hanse-fracht", "Hanse Fracht", "Europe/Berlin", 110, anchor_day=10),
    SampleTeam("howe-diving", "Howe Diving", "Australia/Lord_Howe", 35, products=("api", "storage")),
    SampleTeam("idle", "Idle Hands", "Europe/Berlin", 0, products=()),
    SampleTeam("kiwi-maps", "Kiwi Maps", "Pacific/Auckland", 75),
    SampleTeam(
        "kyoto-print", "Kyoto Print", "Asia/Tokyo", 20, currency="JPY", anchor_day=20, products=("api", "storage")
    ),
    SampleTeam("lagos-pay", "Lagos Pay", "Africa/Lagos", 65, products=("compute",)),
    SampleTeam("lima-textil", "Lima Textil", "America/Lima", 25, products=("api",)),
    SampleTeam("london-reads", "London Reads", "Europe/London", 85, products=("api", "storage")),
    SampleTeam("manhattan-quant", "Manhattan Quant", "America/New_York", 180, products=("compute",)),
    SampleTeam("newfound", "Newfound Robotics", "America/St_Johns", 95, anchor_day=5),
    SampleTeam("osaka-signal", "Osaka Signal", "Asia/Tokyo", 55, currency="JPY", products=("compute",)),
    SampleTeam("patan-crafts", "Patan Crafts", "Asia/Kathmandu", 15, anchor_day=28, products=("api",)),
    SampleTeam("quiet-archive", "Quiet Archive", "America/Denver", 40, products=("storage",)),
    SampleTeam("sao-paulo-bus", "São Paulo Bus", "America/Sao_Paulo", 90, products=("api",)),
    SampleTeam("second-tier", "Second Tier", "UTC", 50, search_exactly=100_000, products=("api",)),
    SampleTeam("sydney-sail", "Sydney Sail", "Australia/Sydney", 60, products=("api",)),
    SampleTeam("tahiti-tours", "Tahiti Tours", "Pacific/Tahiti", 20, products=("api",)),
    SampleTeam("toronto-health", "Toronto Health", "America/Toronto", 120, storage_every_hours=1),
    SampleTeam("wellington-wool", "Wellington Wool", "Pacific/Auckland", 10, currency="JPY", products=("api",)),
    SampleTeam("zurich-uhren", "Zürich Uhren", "Europe/Zurich", 105, products=("api", "storage")),
)
