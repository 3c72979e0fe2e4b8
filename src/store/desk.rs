//! Questions that wait are asked together: one reading answers them all. None is answered by what was read before it was
//! asked.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::db::Error;

/// Questions that may wait; beyond it callers wait their turn.
const QUEUE: usize = 4096;

/// Where questions of one kind are asked.
pub(super) struct Desk<Q, A> {
    queue: mpsc::Sender<Asked<Q, A>>,
}

struct Asked<Q, A> {
    question: Q,
    reply: oneshot::Sender<Result<A, Error>>,
}

impl<Q: Send + 'static, A: Send + 'static> Desk<Q, A> {
    /// A desk that has up to `at_once` readings under way, each for up to `most` questions. `read` answers as many as it is
    /// asked, in their order.
    pub(super) fn open<F>(at_once: usize, most: usize, read: impl Fn(Vec<Q>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Vec<Result<A, Error>>> + Send + 'static,
    {
        let (queue, mut waiting) = mpsc::channel(QUEUE);
        let slots = Arc::new(Semaphore::new(at_once));
        tokio::spawn(async move {
            loop {
                // Questions are taken when somebody can ask them: what comes meanwhile is asked with the next.
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
                let mut taken: Vec<Asked<Q, A>> = Vec::new();
                if waiting.recv_many(&mut taken, most).await == 0 {
                    return;
                }
                let (questions, replies): (Vec<_>, Vec<_>) =
                    taken.into_iter().map(|asked| (asked.question, asked.reply)).unzip();
                let reading = read(questions);
                tokio::spawn(async move {
                    for (reply, answer) in replies.into_iter().zip(reading.await) {
                        // Whoever asked may have gone.
                        _ = reply.send(answer);
                    }
                    drop(slot);
                });
            }
        });
        Desk { queue }
    }

    /// Asks one question.
    pub(super) async fn ask(&self, question: Q) -> Result<A, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Asked { question, reply }).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What was asked, reading by reading.
    type Readings = Arc<Mutex<Vec<Vec<u32>>>>;

    /// A desk that answers each number with its double, each reading once it is let.
    fn desk(most: usize) -> (Desk<u32, u32>, Arc<Semaphore>, Readings) {
        let (let_go, readings) = (Arc::new(Semaphore::new(0)), Readings::default());
        let (gate, noted) = (Arc::clone(&let_go), Arc::clone(&readings));
        let desk = Desk::open(1, most, move |questions: Vec<u32>| {
            noted.lock().unwrap().push(questions.clone());
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                let answer = |number: u32| if number == 13 { Err(Error::Closed) } else { Ok(2 * number) };
                questions.into_iter().map(answer).collect()
            }
        });
        (desk, let_go, readings)
    }

    /// Asks all of these, in their order.
    async fn ask(desk: &Arc<Desk<u32, u32>>, numbers: &[u32]) -> Vec<tokio::task::JoinHandle<Result<u32, Error>>> {
        let mut asking = Vec::new();
        for number in numbers.iter().copied() {
            let (desk, (begun, has_begun)) = (Arc::clone(desk), oneshot::channel());
            asking.push(tokio::spawn(async move {
                let _ = begun.send(());
                desk.ask(number).await
            }));
            has_begun.await.unwrap();
            tokio::task::yield_now().await;
        }
        asking
    }

    #[tokio::test]
    async fn what_is_asked_during_a_reading_is_read_after_it_and_together() {
        let (desk, let_go, readings) = desk(3);
        let desk = Arc::new(desk);
        let asking = ask(&desk, &[1, 2, 3, 4, 5]).await;
        assert_eq!(*readings.lock().unwrap(), [[1]], "the others wait for the reading under way");
        let_go.add_permits(3);
        for (asked, number) in asking.into_iter().zip(1..) {
            assert_eq!(asked.await.unwrap().unwrap(), 2 * number);
        }
        assert_eq!(*readings.lock().unwrap(), [vec![1], vec![2, 3, 4], vec![5]]);
    }

    #[tokio::test]
    async fn what_one_cannot_be_told_the_others_are() {
        let (desk, let_go, _) = desk(3);
        let desk = Arc::new(desk);
        let_go.add_permits(3);
        let asking = ask(&desk, &[1, 13, 2]).await;
        let mut answers = Vec::new();
        for asked in asking {
            answers.push(asked.await.unwrap().ok());
        }
        assert_eq!(answers, [Some(2), None, Some(4)]);
    }
}
