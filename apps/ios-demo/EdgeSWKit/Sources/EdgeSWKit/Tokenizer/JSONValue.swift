import Foundation

/// A JSON value as it stands in the file.
///
/// Foundation's decoders make dictionaries of objects, whose keys Swift compares by canonical equivalence: of two tokens
/// that spell the same character in two ways, one would be lost. Here an object is a list in the file's order.
enum JSONValue {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([(key: String, value: JSONValue)])

    /// Throws TokenizerError for what is no JSON, no UTF-8 or nested too deep; `file` is the name to complain of.
    init(_ data: Data, file: String) throws {
        let bytes = [UInt8](data)
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw TokenizerError.damaged(file: file, reason: "not UTF-8")
        }
        self = try bytes.withUnsafeBufferPointer { buffer in
            var parser = JSONParser(bytes: buffer, file: file)
            return try parser.document()
        }
    }

    /// The last entry of an object with this ASCII key; nil where there is none, it is null, or this is no object.
    subscript(key: String) -> JSONValue? {
        guard case .object(let entries) = self,
            let value = entries.last(where: { $0.key.utf8.elementsEqual(key.utf8) })?.value
        else { return nil }
        if case .null = value { return nil }
        return value
    }

    var string: String? { if case .string(let value) = self { value } else { nil } }
    var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    var object: [(key: String, value: JSONValue)]? { if case .object(let value) = self { value } else { nil } }

    var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
}
