//! What a pickle of tensors calls for: the few names that it may use, and what they make.

use safetensors::Dtype;

use super::pickle::{Global, Machine, Object, Result, Storage, Tensor, Value, nonsense};

/// Dimensions of a tensor.
const RANK_MAX: usize = 16;

impl<'a> Machine<'a> {
    /// A call: of one of the functions that are known here.
    pub(super) fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Some(Object::Tuple(arguments)) = self.object(arguments) else { return Err(nonsense("REDUCE")) };
        match (function, arguments.as_slice()) {
            (Value::Global(Global::OrderedDict), []) => self.make(Object::Dict(vec![])),
            (Value::Global(Global::OrderedDict), &[items]) => {
                let items = self.listed_pairs(items)?;
                self.count(items.len())?;
                self.make(Object::Dict(items))
            }
            (Value::Global(Global::RebuildTensor), arguments) => {
                let tensor = self.tensor(arguments)?;
                self.make(Object::Tensor(tensor))
            }
            (Value::Global(Global::RebuildParameter), &[tensor, ..])
                if matches!(self.object(tensor), Some(Object::Tensor(_))) =>
            {
                self.push(tensor)
            }
            _ => Err(nonsense("REDUCE")),
        }
    }

    /// The items of a dictionary as a list of pairs.
    fn listed_pairs(&self, items: Value<'a>) -> Result<Vec<(Value<'a>, Value<'a>)>> {
        let Some(Object::List(items)) = self.object(items) else { return Err(nonsense("REDUCE")) };
        let pair = |item: &Value<'a>| match self.object(*item) {
            Some(Object::List(pair) | Object::Tuple(pair)) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(nonsense("REDUCE")),
        };
        items.iter().map(pair).collect()
    }

    /// (storage, offset, shape, strides, …): what `_rebuild_tensor` and `_rebuild_tensor_v2` are called with.
    fn tensor(&self, arguments: &[Value<'a>]) -> Result<Tensor> {
        let &[Value::Object(storage), Value::Int(offset), shape, strides, ..] = arguments else {
            return Err(
                "its pickle makes a tensor of something else than a storage, an offset, sizes and strides".into()
            );
        };
        if !matches!(self.objects.get(storage), Some(Object::Storage(_))) {
            return Err("its pickle makes a tensor of something else than a storage".to_owned());
        }
        let sizes = |value: Value<'a>| -> Result<Vec<usize>> {
            let Some(Object::Tuple(items)) = self.object(value) else { return Err(nonsense("REDUCE")) };
            if items.len() > RANK_MAX {
                return Err(format!("its pickle makes a tensor of {} dimensions", items.len()));
            }
            items.iter().map(|item| size(*item).ok_or_else(|| nonsense("REDUCE"))).collect()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        if shape.len() != strides.len() {
            return Err("its pickle makes a tensor with more sizes than strides, or fewer".to_owned());
        }
        let offset = usize::try_from(offset).map_err(|_| "its pickle makes a tensor that begins before its storage")?;
        Ok(Tensor { storage, offset, shape, strides })
    }

    /// Attributes of an object. A dictionary's say nothing of its tensors; nothing else may have any.
    pub(super) fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top_object()? {
            Some(Object::Dict(_)) => Ok(()),
            _ => Err("its pickle has the opcode BUILD for something else than a dictionary".to_owned()),
        }
    }

    /// ("storage", type, key, location, elements, …).
    pub(super) fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Some(Object::Tuple(id)) = self.object(id) else { return Err(nonsense("BINPERSID")) };
        let &[
            Value::Text("storage"),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            _,
            elements,
            ref view @ ..,
        ] = id.as_slice()
        else {
            return Err(nonsense("BINPERSID"));
        };
        if view.iter().any(|view| *view != Value::None) {
            return Err("it holds views of storages as releases before 0.4 wrote them; save it again".to_owned());
        }
        let elements = size(elements).ok_or_else(|| nonsense("BINPERSID"))?;
        self.make(Object::Storage(Storage { dtype, key, elements }))
    }
}

/// The few names that a file of tensors needs.
pub(super) fn global(module: &str, name: &str) -> Result<Global> {
    let dtype = match (module, name) {
        ("collections", "OrderedDict") => return Ok(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => return Ok(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => return Ok(Global::RebuildParameter),
        ("torch", "DoubleStorage") => Dtype::F64,
        ("torch", "FloatStorage") => Dtype::F32,
        ("torch", "HalfStorage") => Dtype::F16,
        ("torch", "BFloat16Storage") => Dtype::BF16,
        ("torch", "LongStorage") => Dtype::I64,
        ("torch", "IntStorage") => Dtype::I32,
        ("torch", "ShortStorage") => Dtype::I16,
        ("torch", "CharStorage") => Dtype::I8,
        ("torch", "ByteStorage") => Dtype::U8,
        ("torch", "BoolStorage") => Dtype::BOOL,
        _ => return Err(format!("its pickle calls for {module}.{name}, which tensors do not need")),
    };
    Ok(Global::Storage(dtype))
}

fn size(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(value) => usize::try_from(value).ok(),
        _ => None,
    }
}
