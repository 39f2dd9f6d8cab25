//! Finds the channels in arguments and results.
//!
//! There is one walk, in declaration order, over two views: [`Reading`] and
//! [`Binding`]. What is done with a channel is up to the caller.
//!
//! The order is part of the wire: a request lists the ids of its channels in that
//! order, and the callee allots them again in that order. Both ends must therefore
//! walk alike, published peers included. Of an enum's variant only the first field
//! is visited, maps and arrays are skipped, and the content of an `Option` is
//! visited by [`Reading`] alone, because facet 0.43 gives no mutable view of it.

use std::cell::RefCell;

use facet::{Def, Facet, Peek, Poke, PokeStruct, Shape, Type, UserType};
use foldhash::HashMap;

use crate::ChannelId;

/// Which half of a channel was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Tx,
    Rx,
}

impl Half {
    pub(crate) fn of(shape: &Shape) -> Option<Self> {
        if shape.module_path != Some("roam_session") {
            return None;
        }
        match shape.type_identifier {
            "Tx" => Some(Self::Tx),
            "Rx" => Some(Self::Rx),
            _ => None,
        }
    }
}

/// Returns the ids of the channels in `args`, in declaration order.
pub fn collect_channel_ids<T: Facet<'static>>(args: &T) -> Vec<u64> {
    let mut ids = Vec::new();
    if may_hold_channels(T::SHAPE) {
        walk::<Reading>(Peek::new(args), &mut |_, channel| {
            if let Ok(channel) = channel.into_struct()
                && let Ok(id) = channel.field_by_name("channel_id")
                && let Ok(&id) = id.get::<ChannelId>()
            {
                ids.push(id);
            }
        });
    }
    ids
}

/// Gives the channels in `args` the ids in `channels`, in declaration order. Channels beyond the end of
/// `channels` retain their ids.
pub fn patch_channel_ids<T: Facet<'static>>(args: &mut T, channels: &[u64]) {
    debug!(?channels, "giving channels the ids of the message");
    let mut ids = channels.iter();
    for_each_channel(args, |_, channel| {
        if let Some(&id) = ids.next() {
            channel.set_id(id);
        }
    });
}

/// Lets `act` change every channel in `args`, in declaration order.
pub(crate) fn for_each_channel<T: Facet<'static>>(
    args: &mut T,
    mut act: impl FnMut(Half, &mut ChannelFields<'_>),
) {
    if may_hold_channels(T::SHAPE) {
        walk::<Binding>(Poke::new(args), &mut |half, channel| {
            let element = channel.shape().type_params.first();
            let element = element.map(|parameter| parameter.shape);
            if let Ok(fields) = channel.into_struct() {
                act(half, &mut ChannelFields { fields, element });
            }
        });
    }
}

/// The fields of a `Tx` or `Rx` whose element type is not known statically.
pub(crate) struct ChannelFields<'m> {
    fields: PokeStruct<'m, 'static>,
    element: Option<&'static Shape>,
}

impl ChannelFields<'_> {
    pub(crate) fn id(&mut self) -> Option<ChannelId> {
        self.with_field("channel_id", |id: &mut ChannelId| *id)
    }

    pub(crate) fn set_id(&mut self, id: ChannelId) {
        self.with_field("channel_id", |field: &mut ChannelId| *field = id);
    }

    /// Lets `act` change the field of that name, if there is one and it is an `F`.
    pub(crate) fn with_field<F: Facet<'static>, R>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut F) -> R,
    ) -> Option<R> {
        let mut field = self.fields.field_by_name(name).ok()?;
        field.get_mut::<F>().ok().map(act)
    }

    /// The shape of the channel's items.
    pub(crate) fn element(&self) -> Option<&'static Shape> {
        self.element
    }
}

/// A view of a value and of its parts.
trait View: 'static {
    type Of<'m>;

    fn shape(value: &Self::Of<'_>) -> &'static Shape;

    /// Hands the values directly inside to `next`, in declaration order.
    fn inside(value: Self::Of<'_>, next: &mut dyn FnMut(Self::Of<'_>));
}

fn walk<V: View>(value: V::Of<'_>, found: &mut dyn FnMut(Half, V::Of<'_>)) {
    match Half::of(V::shape(&value)) {
        Some(half) => found(half, value),
        None => V::inside(value, &mut |part| walk::<V>(part, found)),
    }
}

/// Reads without changing.
struct Reading;

impl View for Reading {
    type Of<'m> = Peek<'m, 'static>;

    fn shape(value: &Self::Of<'_>) -> &'static Shape {
        value.shape()
    }

    fn inside(value: Self::Of<'_>, next: &mut dyn FnMut(Self::Of<'_>)) {
        if let Ok(value) = value.into_struct() {
            for index in 0..value.field_count() {
                if let Ok(field) = value.field(index) {
                    next(field);
                }
            }
        } else if let Ok(value) = value.into_option() {
            if let Some(some) = value.value() {
                next(some);
            }
        } else if let Ok(value) = value.into_enum() {
            if let Ok(Some(first)) = value.field(0) {
                next(first);
            }
        } else if let Ok(value) = value.into_list()
            && may_hold_channels(value.def().t())
        {
            value.iter().for_each(next);
        }
    }
}

/// Lends parts mutably.
struct Binding;

impl View for Binding {
    type Of<'m> = Poke<'m, 'static>;

    fn shape(value: &Self::Of<'_>) -> &'static Shape {
        value.shape()
    }

    fn inside(value: Self::Of<'_>, next: &mut dyn FnMut(Self::Of<'_>)) {
        if value.is_struct() {
            let Ok(mut value) = value.into_struct() else {
                return;
            };
            for index in 0..value.field_count() {
                if let Ok(field) = value.field(index) {
                    next(field);
                }
            }
        } else if let Def::List(list) = value.shape().def {
            if may_hold_channels(list.t())
                && let Ok(mut value) = value.into_list()
            {
                for index in 0..value.len() {
                    if let Some(item) = value.get_mut(index) {
                        next(item);
                    }
                }
            }
        } else if let Ok(mut value) = value.into_enum()
            && let Ok(Some(first)) = value.field(0)
        {
            next(first);
        }
    }
}

/// Whether a value of that shape can have a channel where [`walk`] gets to. Most cannot, and a walk over
/// a megabyte of bytes costs far more than to serialize it.
fn may_hold_channels(shape: &'static Shape) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<*const Shape, bool>> = RefCell::default();
    }
    if matches!(shape.def, Def::Scalar) {
        return false;
    }
    KNOWN.with_borrow_mut(|known| {
        *known
            .entry(shape)
            .or_insert_with(|| holds_channels(shape, &mut Vec::new()))
    })
}

/// `above` are the shapes that this one is inside of: a recursive type holds what its other parts do.
fn holds_channels(shape: &'static Shape, above: &mut Vec<*const Shape>) -> bool {
    if Half::of(shape).is_some() {
        return true;
    }
    if above.contains(&std::ptr::from_ref(shape)) {
        return false;
    }
    above.push(shape);
    let in_fields = match shape.ty {
        Type::User(UserType::Struct(value)) => value
            .fields
            .iter()
            .any(|field| holds_channels(field.shape(), above)),
        Type::User(UserType::Enum(value)) => value
            .variants
            .iter()
            .filter_map(|variant| variant.data.fields.first())
            .any(|field| holds_channels(field.shape(), above)),
        _ => false,
    };
    in_fields
        || match shape.def {
            Def::List(list) => holds_channels(list.t(), above),
            Def::Option(option) => holds_channels(option.t(), above),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rx, Tx};

    fn tx(id: u64) -> Tx<i32> {
        Tx::try_from(id).unwrap()
    }

    fn rx(id: u64) -> Rx<String> {
        Rx::try_from(id).unwrap()
    }

    #[derive(Facet)]
    struct Inner {
        #[facet(default)]
        label: String,
        output: Tx<i32>,
    }

    #[derive(Facet)]
    struct Outer {
        input: Rx<String>,
        bytes: Vec<u8>,
        inner: Inner,
    }

    #[derive(Facet)]
    #[repr(u8)]
    #[allow(dead_code)]
    enum Choice {
        Channel(Tx<i32>, Tx<i32>),
        Count(u32),
    }

    #[derive(Facet)]
    struct Tree {
        children: Vec<Tree>,
        output: Tx<i32>,
    }

    #[track_caller]
    fn check<T: Facet<'static>>(args: T, expected: &[u64]) {
        assert_eq!(collect_channel_ids(&args), expected);
    }

    /// Patches with 101, 102 and so on and reads back.
    #[track_caller]
    fn check_patched<T: Facet<'static>>(mut args: T, ids: &[u64], expected: &[u64]) {
        patch_channel_ids(&mut args, ids);
        assert_eq!(collect_channel_ids(&args), expected);
    }

    #[test]
    fn ids_come_in_declaration_order() {
        check(tx(42), &[42]);
        check((rx(10), 7_u32, tx(20)), &[10, 20]);
        check(vec![tx(1), tx(2), tx(3)], &[1, 2, 3]);
        check(Some(tx(55)), &[55]);
        check(None::<Tx<i32>>, &[]);
        check((String::from("no"), vec![1_u8; 3]), &[]);
        check(
            Outer {
                input: rx(5),
                bytes: vec![0; 4],
                inner: Inner {
                    label: String::new(),
                    output: tx(7),
                },
            },
            &[5, 7],
        );
        check(
            Tree {
                children: vec![Tree {
                    children: vec![],
                    output: tx(1),
                }],
                output: tx(2),
            },
            &[1, 2],
        );
    }

    #[test]
    fn a_variant_counts_by_its_first_field() {
        check(Choice::Channel(tx(8), tx(9)), &[8]);
        check(Choice::Count(3), &[]);
    }

    #[test]
    fn ids_are_given_in_declaration_order() {
        check_patched((rx(0), tx(0)), &[3, 5], &[3, 5]);
        check_patched(vec![tx(0), tx(0), tx(0)], &[3, 5, 7], &[3, 5, 7]);
        check_patched(Choice::Channel(tx(8), tx(9)), &[3, 5], &[3]);
        check_patched((rx(1), tx(2)), &[3], &[3, 2]);
    }

    #[test]
    fn an_option_keeps_its_id_as_published_peers_have_it() {
        check_patched((Some(tx(0)), tx(0)), &[3, 5], &[0, 3]);
    }

    #[test]
    fn the_walk_knows_what_it_need_not_enter() {
        assert!(!may_hold_channels(<Vec<Vec<String>>>::SHAPE));
        assert!(may_hold_channels(<Vec<Option<Tx<u8>>>>::SHAPE));
        assert!(may_hold_channels(Tree::SHAPE));
    }

    #[test]
    fn the_shapes_name_this_crate() {
        for (shape, name) in [(<Tx<i32>>::SHAPE, "Tx"), (<Rx<i32>>::SHAPE, "Rx")] {
            assert_eq!(shape.module_path, Some("roam_session"));
            assert_eq!(shape.type_identifier, name);
            assert_eq!(shape.type_params.len(), 1);
        }
    }
}
