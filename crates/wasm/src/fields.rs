//! Options as JavaScript gives them: the fields of an object, taken one by one, so that an error names the field.

use crate::error;
use js_sys::{Array, JSON, JsString, Object};
use wasm_bindgen::{JsCast, JsValue};

/// The fields of an object that have not been taken yet.
pub(crate) struct Fields(Vec<(String, JsValue)>);

/// What a field can hold.
pub(crate) trait Field: Sized {
    /// What is expected, in words.
    const EXPECTED: &'static str;

    /// The value, where it is one of this kind.
    fn read(value: &JsValue) -> Option<Self>;
}

impl Fields {
    /// The fields of an object; what is null counts as left out.
    pub(crate) fn of(object: &JsValue) -> Fields {
        let entry = |entry: JsValue| {
            let entry: Array = entry.unchecked_into();
            (String::from(JsString::from(entry.get(0))), entry.get(1))
        };
        let given = Object::entries(object.unchecked_ref()).into_iter().map(entry);
        Fields(given.filter(|(_, value)| !value.is_null() && !value.is_undefined()).collect())
    }

    /// Puts what is given in the place of what is there, and says whether something was given.
    pub(crate) fn set<T: Field>(&mut self, name: &str, place: &mut T) -> Result<bool, JsValue> {
        let Some(at) = self.0.iter().position(|(given, _)| given == name) else { return Ok(false) };
        let (_, value) = self.0.swap_remove(at);
        match T::read(&value) {
            Some(value) => *place = value,
            None => return Err(refused(name, &value, T::EXPECTED)),
        }
        Ok(true)
    }

    /// Requires that nothing is left.
    pub(crate) fn end(self) -> Result<(), JsValue> {
        self.0.first().map_or(Ok(()), |(name, value)| Err(refused(name, value, "no option of this name")))
    }
}

fn refused(name: &str, value: &JsValue, expected: &str) -> JsValue {
    let found = JSON::stringify(value).map_or_else(|_| "something else".into(), String::from);
    error("SETTINGS", &[name, ": found ", &found, ", expected ", expected].concat())
}

/// Numbers of JavaScript, which are exact up to 2⁵³.
macro_rules! numbers {
    ($expected:literal, $exact:literal, $($t:ty)*) => {
        $(impl Field for $t {
            const EXPECTED: &'static str = $expected;

            fn read(value: &JsValue) -> Option<Self> {
                value.as_f64().filter(|&x| !$exact || (x as $t) as f64 == x).map(|x| x as $t)
            }
        })*
    };
}

numbers!("a whole number", true, u32 u64 usize);
numbers!("a number", false, f32 f64);

impl Field for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &JsValue) -> Option<Self> {
        value.as_bool()
    }
}

impl Field for String {
    const EXPECTED: &'static str = "a text";

    fn read(value: &JsValue) -> Option<Self> {
        value.as_string()
    }
}

impl<T: Field> Field for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(value: &JsValue) -> Option<Self> {
        T::read(value).map(Some)
    }
}

impl<T: Field> Field for Vec<T> {
    const EXPECTED: &'static str = "a list of whole numbers";

    fn read(value: &JsValue) -> Option<Self> {
        let list = value.dyn_ref::<Array>()?;
        list.iter().map(|item| T::read(&item)).collect()
    }
}
