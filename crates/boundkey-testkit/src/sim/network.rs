//! Messages on their way: lost, doubled, overtaken, late.

use boundkey_client::Reply;
use boundkey_service::{RequestContext, join};

use super::clock::{Micros, SECOND};
use super::edges::broken;
use super::hub::{Point, Posted};
use super::judge::Sent;
use super::rng::Rng;
use super::world::{Done, Event, Of, World, reply};

/// How long an agent waits for an answer.
const PATIENCE: Micros = 30 * SECOND;

/// Of a thousand messages, how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) lost: u32,
    pub(super) answers_lost: u32,
    pub(super) doubled: u32,
    pub(super) late: u32,
    /// Steps of a server.
    pub(super) stalled: u32,
}

impl Rates {
    pub(super) const PRESETS: [Self; 5] = [
        Self { lost: 0, answers_lost: 0, doubled: 0, late: 0, stalled: 0 },
        Self { lost: 30, answers_lost: 30, doubled: 50, late: 20, stalled: 2 },
        Self { lost: 150, answers_lost: 150, doubled: 200, late: 100, stalled: 10 },
        Self { lost: 300, answers_lost: 300, doubled: 300, late: 300, stalled: 30 },
        Self { lost: 0, answers_lost: 700, doubled: 400, late: 200, stalled: 10 },
    ];
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) sent: Sent,
    /// None: a duplicate, whose answer nobody waits for.
    slot: Option<u64>,
    is_begin: bool,
    body: Vec<u8>,
    server: usize,
    number: u64,
}

impl World {
    pub(super) fn route(&mut self, posted: Posted) {
        let actor = posted.actor;
        self.actors[actor].messages += 1;
        let number = self.actors[actor].messages;
        let mut rng = self.rng(&[0x4e, actor as u64, number]);
        // The worst does not last, or a world would be nothing else.
        self.rates_left = self.rates_left.saturating_sub(1);
        if self.rates_left == 0 && self.rates.lost + self.rates.answers_lost > 100 {
            self.rates = Rates::PRESETS[1];
        }
        self.schedule(PATIENCE, Event::Reply { slot: posted.slot, reply: Err(broken("no answer in time")) });
        let mut server = self.actors[actor].server % self.servers.len();
        if self.servers[server].service.is_none() && rng.chance(500) {
            server = rng.index(self.servers.len());
        }
        let with_secret =
            std::str::from_utf8(&posted.body).is_ok_and(|body| body.contains("\"secret_proof\""));
        let message = Message {
            sent: self.sent(actor, with_secret),
            slot: Some(posted.slot),
            is_begin: posted.is_begin,
            body: posted.body,
            server,
            number,
        };
        if !message.is_begin && rng.chance(self.rates.doubled) {
            self.report.fault("message doubled");
            let twin = Message { slot: None, server: rng.index(self.servers.len()), ..message.clone() };
            let late = rng.chance(200);
            let delay = self.delay(&mut rng, late);
            self.schedule(delay, Event::Deliver(Box::new(twin)));
        }
        let (lost, late) = (rng.chance(self.rates.lost), rng.chance(self.rates.late));
        let cut = self.hub.lock().reach(Point::Request);
        if lost || cut {
            self.report.fault("request lost");
            self.note(|| format!("a request of actor {actor} is lost"));
            return;
        }
        let delay = self.delay(&mut rng, late);
        self.schedule(delay, Event::Deliver(Box::new(message)));
        let dies = self.hub.lock().reach(Point::Sent);
        if dies {
            self.process_dies(actor, SECOND);
        }
    }

    /// Within milliseconds, or within the challenge's life and beyond it.
    fn delay(&mut self, rng: &mut Rng, late: bool) -> Micros {
        if late {
            self.report.fault("message late or overtaken");
        }
        let longest = if late { 100_000_000 } else { 20_000 };
        i64::try_from(rng.below(longest)).unwrap_or(0)
    }

    pub(super) fn deliver(&mut self, message: Box<Message>) {
        let Some(service) = self.service(message.server) else {
            self.report.fault("message to a server that is down");
            if let Some(slot) = message.slot {
                self.schedule(10_000, Event::Reply { slot, reply: Err(broken("connection refused")) });
            }
            return;
        };
        self.report.messages += 1;
        let now = service.now();
        if message.is_begin {
            let answer = join::begin(&service, now);
            self.answer(*message, reply(200, &answer));
            return;
        }
        let (from, server) = (message.sent.from, message.server);
        let kind = if message.slot.is_some() { "message" } else { "duplicate" };
        self.note(|| format!("server {server} gets a {kind} of actor {from}"));
        let began = self.judge.begins(&message.sent, now);
        let source = std::net::IpAddr::from([192, 0, 2, u8::try_from(from % 250).unwrap_or(0)]);
        let context = RequestContext::new(service.entropy(), Some(source), "public");
        let body = message.body.clone();
        let future = async move { Done::Serve(join::complete(&service, &body, &context, now).await) };
        let task = self.spawn(Of::Serve { server, message, began, codes: Vec::new() }, Box::pin(future));
        self.poll(task);
    }

    pub(super) fn answer(&mut self, message: Message, reply: Reply) {
        let Some(slot) = message.slot else { return };
        let mut rng = self.rng(&[0xa5, message.sent.from as u64, message.number]);
        let cut = self.hub.lock().reach(Point::Answer);
        if rng.chance(self.rates.answers_lost) || cut {
            self.report.fault("answer lost");
            return;
        }
        let late = rng.chance(self.rates.late);
        let delay = self.delay(&mut rng, late);
        let dies = self.hub.lock().reach(Point::Arrived);
        if dies {
            self.process_dies(message.sent.from, SECOND);
            return;
        }
        self.schedule(delay, Event::Reply { slot, reply: Ok(reply) });
    }
}
