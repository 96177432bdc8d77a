"""Goal: how likely the target is by its date, from a real track record or a backtest, told without mercy."""

from app import backtests, goal, goal_view, widgets
from app.client import engine_client

client = engine_client()
status = widgets.page_head("Goal", client)
with widgets.known("Goal"):
    runs = client.runs()

form_at, answer_at = widgets.form_and_answer()
with form_at:
    asked = goal_view.form(goal.source_names(runs, backtests.run_rows(runs)))
with answer_at:
    answer = goal_view.ask(client, asked)
    goal_view.verdict(answer)
    goal_view.chances(answer)
    goal_view.required(answer)
    goal_view.method(answer)
