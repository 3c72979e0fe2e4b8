//! Frames that wait to be written, in their order.

use std::collections::VecDeque;

use super::outbox::Frame;

/// Frames, oldest first. One alone needs no memory of its own: that is how nearly every push waits, and each would take
/// some from the allocator to give it back at once, on its slowest way where many sockets hear the same.
#[derive(Default)]
pub(crate) enum Frames {
    #[default]
    None,
    One(Frame),
    Many(VecDeque<Frame>),
}

impl Frames {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Frames::None => 0,
            Frames::One(_) => 1,
            Frames::Many(frames) => frames.len(),
        }
    }

    pub(crate) fn push_back(&mut self, frame: Frame) {
        *self = match std::mem::take(self) {
            Frames::None => Frames::One(frame),
            Frames::One(first) => Frames::Many([first, frame].into()),
            Frames::Many(mut frames) => {
                frames.push_back(frame);
                Frames::Many(frames)
            }
        };
    }

    pub(crate) fn front(&self) -> Option<&Frame> {
        self.iter().next()
    }

    pub(crate) fn pop_front(&mut self) -> Option<Frame> {
        match self {
            Frames::Many(frames) => frames.pop_front(),
            Frames::None | Frames::One(_) => std::mem::take(self).into_iter().next(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Frame> {
        let (one, many) = match self {
            Frames::None => (None, None),
            Frames::One(frame) => (Some(frame), None),
            Frames::Many(frames) => (None, Some(frames)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Adds other frames behind these.
    pub(crate) fn append(&mut self, others: Frames) {
        match self {
            Frames::None => *self = others,
            Frames::One(_) | Frames::Many(_) => others.into_iter().for_each(|frame| self.push_back(frame)),
        }
    }
}

impl IntoIterator for Frames {
    type Item = Frame;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Frame>, std::collections::vec_deque::IntoIter<Frame>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Frames::None => (None, VecDeque::new()),
            Frames::One(frame) => (Some(frame), VecDeque::new()),
            Frames::Many(frames) => (None, frames),
        };
        one.into_iter().chain(many)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(frame: &Frame) -> String {
        String::from_utf8(frame.parts().0.to_vec()).unwrap()
    }

    proptest! {
        /// Whatever is done to them, they are what a plain queue would be.
        #[test]
        fn they_keep_their_order(steps in prop::collection::vec(0..4u8, 0..40)) {
            let (mut frames, mut plain) = (Frames::default(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                let new = |at: u8| format!("{number}.{at}");
                match step {
                    0 | 1 => {
                        let mut others = Frames::default();
                        for at in 0..=step {
                            others.push_back(Frame::Text(new(at)));
                            plain.push_back(new(at));
                        }
                        frames.append(others);
                    }
                    2 => {
                        frames.push_back(Frame::Text(new(0)));
                        plain.push_back(new(0));
                    }
                    _ => prop_assert_eq!(frames.pop_front().as_ref().map(text), plain.pop_front()),
                }
                prop_assert_eq!((frames.len(), frames.is_empty()), (plain.len(), plain.is_empty()));
                prop_assert_eq!(frames.front().map(text), plain.front().cloned());
                prop_assert!(frames.iter().map(text).eq(plain.iter().cloned()));
            }
            prop_assert!(frames.into_iter().map(|frame| text(&frame)).eq(plain));
        }
    }

    #[test]
    fn they_are_hardly_larger_than_a_queue() {
        assert!(size_of::<Frames>() <= size_of::<VecDeque<Frame>>() + 8);
    }
}
