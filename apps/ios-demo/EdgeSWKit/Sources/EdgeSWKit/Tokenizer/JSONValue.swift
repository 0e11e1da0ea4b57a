import Foundation

/// A JSON value as it is written in the file.
///
/// Foundation's decoders turn objects into dictionaries, whose keys Swift compares by canonical equivalence: one of two
/// tokens with canonically equivalent spellings would be lost. Here an object is a list in the file's order.
enum JSONValue {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([(key: String, value: JSONValue)])

    /// Throws TokenizerError for invalid JSON or UTF-8, and for values nested too deeply; `file` is the name in the error.
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

    /// The last entry of an object with this ASCII key; nil if there is none, if it is null, or if this is not an object.
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
