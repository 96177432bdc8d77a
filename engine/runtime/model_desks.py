"""Every desk that answers for models, as far as this engine has models."""

from __future__ import annotations

from engine.runtime.engine import Engine
from engine.runtime.jobs import Jobs
from engine.runtime.live_models import LiveModels
from engine.runtime.model_desk import Book, ModelDesk
from engine.runtime.news import News


def model_desks(
    engine: Engine, jobs: Jobs, book: Book | None, live: LiveModels | None
) -> list[ModelDesk | LiveModels | News]:
    """Return the desks of the registry, of the models as they run and of the headlines, each where it can work."""
    page = ModelDesk(engine, jobs, book, live) if book is not None else None
    news = News(engine, book, live.host) if book is not None and live is not None else None
    return [desk for desk in (page, live, news) if desk is not None]
