"""Every method of the server's client for Python, each once: the same story as `everything.test.mjs`."""

import inspect
import itertools
import json
import os
import time
import unittest
import urllib.request

import knockapi
from knockapi import Knock

PLACE = json.loads(os.environ["SDK_TEST_PLACE"])
CHANNELS = PLACE["channels"]
CALLED = set()
PEOPLE = itertools.count(1)


def someone(name="user"):
    """An id nobody else in this run has."""
    return f"{name}-py-{next(PEOPLE)}"


def methods(holder, above=""):
    """Every method of a client's resources, with its name, such as `users.bulk.identify`."""
    for name, member in inspect.getmembers_static(type(holder)):
        if name.startswith("with_") or name.startswith("_"):
            continue
        if hasattr(member, "func") or isinstance(member, property):
            value = getattr(holder, name)
            if type(value).__name__.endswith("Resource"):
                yield from methods(value, f"{above}{name}.")
        elif callable(member) and above:
            yield holder, name, above + name


def counted(method, name):
    def call(*arguments, **named):
        CALLED.add(name)
        return method(*arguments, **named)

    return call


KNOCK = Knock(api_key=PLACE["development"]["secret"], base_url=PLACE["url"], max_retries=0)
ALL = list(methods(KNOCK))
for resource, method, name in ALL:
    setattr(resource, method, counted(getattr(resource, method), name))


def until(what, claim):
    end = time.monotonic() + 20
    while True:
        answer = claim()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.02)


def done(operation):
    """Waits for a bulk operation; none of its entries may fail."""

    def is_done():
        now = KNOCK.bulk_operations.get(operation.id)
        return now if now.status == "completed" else None

    bulk = until("it is done", is_done)
    assert (bulk.error_count, bulk.processed_rows) == (0, bulk.estimated_total_rows), bulk


def ids(pages, of=lambda one: one.id):
    return [of(one) for one in pages]


def tell(user, name):
    KNOCK.workflows.trigger("note", recipients=[{"id": user}], data={"name": name})
    until(f"{user} holds {name}", lambda: name in [entry.data["name"] for entry in feed(user)])


def feed(user):
    return KNOCK.users.feeds.list_items(user, PLACE["channel"]).entries


class Everything(unittest.TestCase):
    def gone(self, call, *arguments):
        with self.assertRaises(knockapi.NotFoundError):
            call(*arguments)

    def test_users(self):
        users = KNOCK.users
        ann, bob, cy = someone("ann"), someone("bob"), someone("cy")
        self.assertEqual(users.update(ann, name="Ann").name, "Ann")
        users.update(bob, name="Bob", extra_body={"plan": "pro"})
        self.assertEqual(users.get(bob).model_extra["plan"], "pro")
        self.assertIn(ann, ids(users.list()))
        users.set_channel_data(ann, CHANNELS["phones"], data={"tokens": ["one"]})
        self.assertEqual(users.get_channel_data(ann, CHANNELS["phones"]).data.tokens, ["one"])
        users.unset_channel_data(ann, CHANNELS["phones"])
        self.gone(users.get_channel_data, ann, CHANNELS["phones"])
        self.assertEqual(users.set_preferences(ann, "default", categories={"news": False}).categories, {"news": False})
        self.assertEqual(users.get_preferences(ann, "default").categories, {"news": False})
        self.assertEqual([one.id for one in users.list_preferences(ann)], ["default"])
        users.unset_preferences(ann, "default")
        self.assertIsNone(users.get_preferences(ann, "default").categories)
        tell(ann, "told")
        self.assertEqual(len(ids(users.list_messages(ann))), 1)
        self.assertFalse(users.feeds.get_settings(ann, PLACE["channel"]).features.branding_required)
        KNOCK.schedules.create(workflow="note", recipients=[ann], scheduled_at="2100-01-01T00:00:00Z")
        self.assertEqual(len(ids(users.list_schedules(ann))), 1)
        KNOCK.objects.set("crews", ann)
        KNOCK.objects.add_subscriptions("crews", ann, recipients=[ann])
        self.assertEqual(ids(users.list_subscriptions(ann), lambda one: one.object.id), [ann])
        self.assertEqual(users.merge(ann, from_user_id=bob).model_extra["plan"], "pro")
        self.gone(users.get, bob)
        done(users.bulk.identify(users=[{"id": bob, "name": "Bo"}, {"id": cy}]))
        self.assertEqual(users.get(bob).name, "Bo")
        done(users.bulk.set_preferences(user_ids=[bob, cy], preferences={"workflows": {"note": False}}))
        self.assertEqual(users.get_preferences(cy, "default").workflows, {"note": False})
        done(users.bulk.delete(user_ids=[bob]))
        users.delete(cy)
        self.gone(users.get, bob)
        self.gone(users.get, cy)

    def test_the_preference_center(self):
        user = someone()
        KNOCK.users.update(user, email="ann@example.com")
        config = KNOCK.users.preference_center.get_config(user)
        self.assertEqual(config.user_email, "ann@example.com")
        link = KNOCK.users.preference_center.generate_signed_url(user)
        with urllib.request.urlopen(link.url) as page:
            self.assertEqual(page.status, 200)

    def test_objects(self):
        objects, collection, user = KNOCK.objects, someone("teams"), someone()
        self.assertEqual(objects.set(collection, "red", extra_body={"name": "Red"}).properties["name"], "Red")
        self.assertEqual(objects.get(collection, "red").id, "red")
        done(objects.bulk.set(collection, objects=[{"id": "blue"}]))
        self.assertEqual(sorted(ids(objects.list(collection))), ["blue", "red"])
        hook = {"connections": [{"incoming_webhook": {"url": "https://example.com/hook"}}]}
        objects.set_channel_data(collection, "red", CHANNELS["slack"], data=hook)
        data = objects.get_channel_data(collection, "red", CHANNELS["slack"])
        self.assertEqual(data.channel_id, CHANNELS["slack"])
        objects.unset_channel_data(collection, "red", CHANNELS["slack"])
        self.gone(objects.get_channel_data, collection, "red", CHANNELS["slack"])
        objects.set_preferences(collection, "red", "default", categories={"news": False})
        self.assertEqual(objects.get_preferences(collection, "red", "default").categories, {"news": False})
        self.assertEqual([one.id for one in objects.list_preferences(collection, "red")], ["default"])
        objects.unset_preferences(collection, "red", "default")
        added = objects.add_subscriptions(collection, "red", recipients=[user], properties={"role": "lead"})
        self.assertEqual([one.recipient.id for one in added], [user])
        self.assertEqual(ids(objects.list_subscriptions(collection, "red"), lambda one: one.recipient.id), [user])
        self.assertEqual(len(objects.delete_subscriptions(collection, "red", recipients=[user])), 1)
        subscriptions = [{"id": "red", "recipients": [user]}]
        done(objects.bulk.add_subscriptions(collection, subscriptions=subscriptions))
        done(objects.bulk.delete_subscriptions(collection, subscriptions=subscriptions))
        self.assertEqual(list(objects.list_subscriptions(collection, "red")), [])
        self.assertEqual(list(objects.list_messages(collection, "red")), [])
        self.assertEqual(list(objects.list_schedules(collection, "red")), [])
        done(objects.bulk.delete(collection, object_ids=["blue"]))
        objects.delete(collection, "red")
        self.assertEqual(list(objects.list(collection)), [])

    def test_tenants(self):
        tenants, north, south = KNOCK.tenants, someone("north"), someone("south")
        settings = {"branding": {"primary_color": "#112233"}}
        tenant = tenants.set(north, name="North", settings=settings)
        self.assertEqual(tenant.settings.branding.primary_color, "#112233")
        self.assertEqual(tenants.get(north).name, "North")
        self.assertIn(north, ids(tenants.list(name="North")))
        done(tenants.bulk.set(tenants=[{"id": south, "name": "South"}]))
        done(tenants.bulk.delete(tenant_ids=[south]))
        tenants.delete(north)
        self.gone(tenants.get, north)
        self.gone(tenants.get, south)

    def test_messages(self):
        messages, user = KNOCK.messages, someone()
        tell(user, "one")
        tell(user, "two")
        mine = ids(KNOCK.users.list_messages(user))
        self.assertEqual(len(mine), 2)
        self.assertLessEqual(set(mine), set(ids(messages.list())))
        first = mine[0]
        self.assertEqual(messages.get(first).id, first)
        self.assertEqual(messages.get_content(first).data.blocks[0].type, "markdown")
        self.assertEqual(len(list(messages.list_activities(first))), 1)
        self.assertIn("message.delivered", [event.type for event in messages.list_events(first)])
        self.assertEqual(list(messages.list_delivery_logs(first)), [])
        self.assertIsNotNone(messages.mark_as_seen(first).seen_at)
        self.assertIsNone(messages.mark_as_unseen(first).seen_at)
        self.assertIsNotNone(messages.mark_as_read(first).read_at)
        self.assertIsNone(messages.mark_as_unread(first).read_at)
        self.assertIsNotNone(messages.mark_as_interacted(first, metadata={"by": "hand"}).interacted_at)
        self.assertIsNotNone(messages.archive(first).archived_at)
        self.assertIsNone(messages.unarchive(first).archived_at)
        batch = messages.batch
        self.assertEqual(len(batch.get_content(message_ids=mine)), 2)
        for mark, member, is_set in [
            (batch.mark_as_seen, "seen_at", True),
            (batch.mark_as_unseen, "seen_at", False),
            (batch.mark_as_read, "read_at", True),
            (batch.mark_as_unread, "read_at", False),
            (batch.mark_as_interacted, "interacted_at", True),
            (batch.archive, "archived_at", True),
            (batch.unarchive, "archived_at", False),
        ]:
            marked = mark(message_ids=mine)
            self.assertEqual([getattr(one, member) is not None for one in marked], [is_set, is_set], member)
        marks = KNOCK.channels.bulk
        done(marks.update_message_status(channel_id=PLACE["channel"], action="read", recipient_ids=[user]))

    def test_workflows_runs_and_schedules(self):
        user = someone()
        tell(user, "now")
        KNOCK.workflows.trigger("later", recipients=[user], cancellation_key=user)
        KNOCK.workflows.cancel("later", cancellation_key=user)
        run = ids(KNOCK.workflow_recipient_runs.list(recipient=user, workflow="note"))[0]
        self.assertTrue(KNOCK.workflow_recipient_runs.get(run).events)
        far = {"workflow": "note", "scheduled_at": "2100-01-01T00:00:00Z", "data": {"name": "far"}}
        schedule = KNOCK.schedules.create(recipients=[user], **far)[0]
        changed = KNOCK.schedules.update(schedule_ids=[schedule.id], data={"name": "farther"})
        self.assertEqual(changed[0].data, {"name": "farther"})
        self.assertIn(schedule.id, ids(KNOCK.schedules.list(workflow="note")))
        self.assertEqual([one.id for one in KNOCK.schedules.delete(schedule_ids=[schedule.id])], [schedule.id])
        done(KNOCK.schedules.bulk.create(schedules=[{**far, "recipient": user}]))
        self.assertEqual(len(ids(KNOCK.users.list_schedules(user))), 1)

    def test_audiences_and_those_who_sync_them(self):
        key, user = someone("people"), someone()
        members = [{"user": {"id": user}}]
        KNOCK.audiences.add_members(key, members=members, create_audience=True)
        self.assertEqual([one.user_id for one in KNOCK.audiences.list_members(key).entries], [user])
        KNOCK.audiences.remove_members(key, members=members)
        self.assertEqual(KNOCK.audiences.list_members(key).entries, [])
        call = {"jsonrpc": "2.0", "id": "1", "method": "test_connection", "params": {}}
        self.assertEqual(KNOCK.integrations.census.custom_destination(**call).id, "1")
        self.assertEqual(KNOCK.integrations.hightouch.embedded_destination(**call).id, "1")

    def test_what_nobody_has_connected(self):
        KNOCK.tenants.set("unconnected")
        reference = json.dumps({"collection": "$tenants", "object_id": "unconnected"})
        slack, teams = KNOCK.providers.slack, KNOCK.providers.ms_teams
        of_slack, of_teams = {"access_token_object": reference}, {"ms_teams_tenant_object": reference}
        told = ["Access token not set.", "Microsoft Teams tenant ID not set."]
        for message, call, channel, named in [
            (told[0], slack.check_auth, "slack", of_slack),
            (told[0], slack.list_channels, "slack", of_slack),
            (told[0], slack.revoke_access, "slack", of_slack),
            (told[1], teams.check_auth, "teams", of_teams),
            (told[1], teams.list_teams, "teams", of_teams),
            (told[1], teams.list_channels, "teams", {**of_teams, "team_id": "t"}),
            (told[1], teams.revoke_access, "teams", of_teams),
        ]:
            with self.assertRaises(knockapi.APIStatusError) as refused:
                call(CHANNELS[channel], **named)
            self.assertEqual(refused.exception.response.json()["message"], message)

    def test_guides(self):
        user, marks, channel = someone(), KNOCK.users.guides, CHANNELS["guides"]
        KNOCK.users.update(user, name="Ann")
        guide = marks.get_channel(user, channel).entries[0]
        step = {
            "channel_id": channel,
            "guide_key": guide.key,
            "guide_id": guide.id,
            "guide_step_ref": guide.steps[0].ref,
        }
        self.assertEqual(marks.mark_message_as_seen(user, content=guide.steps[0].content, **step).status, "ok")
        self.assertEqual(marks.mark_message_as_interacted(user, metadata={"by": "hand"}, **step).status, "ok")
        self.assertEqual(marks.mark_message_as_archived(user, **step).status, "ok")
        self.assertEqual(marks.get_channel(user, channel).entries, [])
        marks.unarchive_guide_message(user, guide_key=guide.key)
        self.assertEqual(len(marks.get_channel(user, channel).entries), 1)
        marks.reset_guide_engagements(user, guide_key=guide.key)
        step = marks.get_channel(user, channel).entries[0].steps[0]
        self.assertIsNone(step.message.seen_at)


class Zealous(unittest.TestCase):
    """Runs last, by its name."""

    def test_every_method_was_called(self):
        self.assertGreaterEqual(len(ALL), 98)
        self.assertEqual([name for _, _, name in ALL if name not in CALLED], [])


if __name__ == "__main__":
    unittest.main()
