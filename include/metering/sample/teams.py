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
    SampleTeam("annapurna", "Annapurna Trekking", "Asia/Kathmandu", 60),
    SampleTeam("bengaluru-labs", "Bengaluru Labs", "Asia/Kolkata", 140, storage_every_hours=1),
    SampleTeam("berlin-mobil", "Berlin Mobil", "Europe/Berlin", 80),
    SampleTeam("brooklyn-bakes", "Brooklyn Bakes", "America/New_York", 30),
    SampleTeam("cape-spear", "Cape Spear Weather", "America/St_Johns", 45),
    SampleTeam("chatham", "Chatham Fisheries", "Pacific/Chatham", 25),
    SampleTeam("delhi-express", "Delhi Express", "Asia/Kolkata", 70, anchor_day=15),
    SampleTeam("edo-games", "Edo Games", "Asia/Tokyo", 130, currency="JPY"),
    SampleTeam("first-tier", "First Tier", "UTC", 20, search_exactly=10_000),
    SampleTeam("fuji-cloud", "Fuji Cloud", "Asia/Tokyo", 90, currency="JPY", storage_every_hours=1),
    SampleTeam("gotham-data", "Gotham Data", "America/New_York", 160),
    SampleTeam("hanse-fracht", "Hanse Fracht", "Europe/Berlin", 110, anchor_day=10),
    SampleTeam("howe-diving", "Howe Diving", "Australia/Lord_Howe", 35),
    SampleTeam("idle", "Idle Hands", "Europe/Berlin", 0, products=()),
    SampleTeam("kiwi-maps", "Kiwi Maps", "Pacific/Auckland", 75),
    SampleTeam("kyoto-print", "Kyoto Print", "Asia/Tokyo", 20, currency="JPY", anchor_day=20),
    SampleTeam("lagos-pay", "Lagos Pay", "Africa/Lagos", 65),
    SampleTeam("lima-textil", "Lima Textil", "America/Lima", 25),
    SampleTeam("london-reads", "London Reads", "Europe/London", 85),
    SampleTeam("manhattan-quant", "Manhattan Quant", "America/New_York", 180, products=("api", "compute")),
    SampleTeam("newfound", "Newfound Robotics", "America/St_Johns", 95, anchor_day=5),
    SampleTeam("osaka-signal", "Osaka Signal", "Asia/Tokyo", 55, currency="JPY"),
    SampleTeam("patan-crafts", "Patan Crafts", "Asia/Kathmandu", 15, anchor_day=28),
    SampleTeam("quiet-archive", "Quiet Archive", "America/Denver", 40, products=("storage",)),
    SampleTeam("sao-paulo-bus", "São Paulo Bus", "America/Sao_Paulo", 90),
    SampleTeam("second-tier", "Second Tier", "UTC", 50, search_exactly=100_000),
    SampleTeam("sydney-sail", "Sydney Sail", "Australia/Sydney", 60),
    SampleTeam("tahiti-tours", "Tahiti Tours", "Pacific/Tahiti", 20),
    SampleTeam("toronto-health", "Toronto Health", "America/Toronto", 120, storage_every_hours=1),
    SampleTeam("wellington-wool", "Wellington Wool", "Pacific/Auckland", 10, currency="JPY"),
    SampleTeam("zurich-uhren", "Zürich Uhren", "Europe/Zurich", 105),
)
