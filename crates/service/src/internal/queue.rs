//! Questions that wait to be asked together.
//!
//! A question that waits already is joined, not asked twice; one that is on its way is not joined, because its answer may be
//! older than the one who would join. A question that nobody waits for any more is not asked.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Grant;
use tokio::sync::watch;

use super::client::Failure;
use super::wire::Question;

/// What became of a question.
pub(super) type Answer = Result<Option<Grant>, Failure>;

/// The questions of one process.
#[derive(Debug)]
pub(super) struct Queue {
    questions_max: usize,
    carriers_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<Question, Waiting>,
    /// Those of `waiting`, the oldest first.
    order: BTreeMap<u64, Question>,
    next: u64,
    /// How many carry batches to the control plane and back.
    carriers: usize,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    answer: watch::Sender<Option<Answer>>,
}

/// A question on its way.
pub(super) type Asked = (Question, watch::Sender<Option<Answer>>);

/// A place in the queue. Dropped, it takes the question out, if it still waits and nobody else asks it.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    question: Question,
    number: u64,
    answer: Option<watch::Receiver<Option<Answer>>>,
    /// Whoever has this has to have somebody carry the queue: see [`Queue::batch`].
    pub(super) needs_carrier: bool,
}

impl Queue {
    pub(super) fn new(questions_max: usize, carriers_max: usize) -> Self {
        Self { questions_max, carriers_max, state: Mutex::default() }
    }

    /// Puts a question into the queue.
    pub(super) fn ask(&self, question: Question) -> Result<Place<'_>, Failure> {
        let mut state = self.state();
        let state = &mut *state;
        let place = |number, answer, needs_carrier| {
            Ok(Place { queue: self, question, number, answer: Some(answer), needs_carrier })
        };
        if let Some(waiting) = state.waiting.get(&question) {
            return place(waiting.number, waiting.answer.subscribe(), false);
        }
        if state.waiting.len() >= self.questions_max {
            return Err(Failure::Full);
        }
        let number = state.next;
        state.next += 1;
        let (sender, receiver) = watch::channel(None);
        state.waiting.insert(question, Waiting { number, answer: sender });
        state.order.insert(number, question);
        let needs_carrier = state.carriers < self.carriers_max;
        if needs_carrier {
            state.carriers += 1;
        }
        place(number, receiver, needs_carrier)
    }

    /// The oldest questions, at most so many. Nothing if none waits: then the carrier that asks is done.
    pub(super) fn batch(&self, questions_max: usize) -> Option<Vec<Asked>> {
        let mut state = self.state();
        let mut batch = Vec::with_capacity(state.order.len().min(questions_max));
        while batch.len() < questions_max {
            let Some((_, question)) = state.order.pop_first() else { break };
            let waiting = state.waiting.remove(&question).expect("what is in order waits");
            batch.push((question, waiting.answer));
        }
        if batch.is_empty() {
            state.carriers -= 1;
            return None;
        }
        Some(batch)
    }

    /// A carrier ended without having been told that nothing waits any more.
    pub(super) fn carrier_lost(&self) {
        self.state().carriers -= 1;
    }

    /// Questions that wait.
    pub(super) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits for the answer.
    pub(super) async fn answer(&mut self) -> Answer {
        let receiver = self.answer.as_mut().expect("it is taken by drop only");
        match receiver.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("it was waited for"),
            Err(_) => Err(Failure::Stopped),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        self.answer = None;
        let is_nobodys =
            |waiting: &Waiting| waiting.number == self.number && waiting.answer.receiver_count() == 0;
        if state.waiting.get(&self.question).is_some_and(is_nobodys) {
            state.waiting.remove(&self.question);
            state.order.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{ChannelId, KeyDigest, ThingId};
    use futures::FutureExt as _;

    use super::*;

    fn question(number: u8) -> Question {
        Question { key: KeyDigest::from_bytes([number; 32]), channel: ChannelId::from_bytes([1; 16]) }
    }

    fn numbers(batch: &[Asked]) -> Vec<u8> {
        batch.iter().map(|(question, _)| question.key.as_bytes()[0]).collect()
    }

    fn grant(number: u8) -> Option<Grant> {
        Some(Grant { thing: ThingId::from_bytes([number; 16]), connection: None })
    }

    #[tokio::test]
    async fn what_waits_goes_together_and_in_order_and_the_same_question_once() {
        let queue = Queue::new(10, 1);
        let mut places: Vec<_> = [3, 1, 2, 1].map(|number| queue.ask(question(number)).unwrap()).into();
        let needs: Vec<_> = places.iter().map(|place| place.needs_carrier).collect();
        assert_eq!(needs, [true, false, false, false], "one carrier is enough");
        let batch = queue.batch(2).unwrap();
        assert_eq!(numbers(&batch), [3, 1]);
        // On its way: asked again, it waits again.
        places.push(queue.ask(question(1)).unwrap());
        for (question, answer) in batch {
            answer.send(Some(Ok(grant(question.key.as_bytes()[0])))).unwrap();
        }
        assert_eq!(places[1].answer().await.unwrap(), grant(1));
        assert_eq!(places[3].answer().await.unwrap(), grant(1), "whoever asked meanwhile shares the answer");
        assert!(places[4].answer().now_or_never().is_none());
        assert_eq!(numbers(&queue.batch(10).unwrap()), [2, 1]);
        assert!(places[2].answer().await.is_err(), "a batch that is dropped is answered, too");
        assert!(queue.batch(10).is_none());
        assert!(queue.ask(question(9)).unwrap().needs_carrier, "the last carrier is done");
    }

    #[test]
    fn what_nobody_waits_for_is_not_asked_and_takes_no_room() {
        let queue = Queue::new(2, 1);
        let (one, other) = (queue.ask(question(1)).unwrap(), queue.ask(question(1)).unwrap());
        let second = queue.ask(question(2)).unwrap();
        assert!(matches!(queue.ask(question(3)), Err(Failure::Full)));
        assert!(queue.ask(question(2)).is_ok(), "what waits already takes no more room");
        drop(one);
        assert_eq!(queue.len(), 2, "somebody else waits for it");
        drop(other);
        let third = queue.ask(question(3)).unwrap();
        drop(second);
        assert_eq!(numbers(&queue.batch(10).unwrap()), [3]);
        drop(third);
        for _ in 0..1_000 {
            drop(queue.ask(question(4)).unwrap());
        }
        assert_eq!((queue.len(), queue.state().order.len()), (0, 0));
    }

    #[test]
    fn one_who_leaves_takes_out_no_question_of_a_later_one() {
        let queue = Queue::new(2, 1);
        let early = queue.ask(question(1)).unwrap();
        let on_its_way = queue.batch(1).unwrap();
        let late = queue.ask(question(1)).unwrap();
        drop((early, on_its_way));
        assert_eq!(queue.len(), 1);
        drop(late);
        assert_eq!(queue.len(), 0);
    }
}
