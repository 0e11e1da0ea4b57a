import EdgeSWKit
import SwiftUI

/// Speed, memory and heat, live.
struct ReadingsBar: View {
    let speed: Speed
    let reading: DeviceReading

    var body: some View {
        ViewThatFits(in: .horizontal) {
            HStack(spacing: 16) { readings }
            VStack(alignment: .leading, spacing: 4) { readings }
        }
        .font(.caption)
        .monospacedDigit()
        .foregroundStyle(.secondary)
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    @ViewBuilder private var readings: some View {
        if let rate = speed.tokensPerSecond {
            Label("\(rate.formatted(.number.precision(.fractionLength(1)))) tokens/s", systemImage: "speedometer")
                .accessibilityLabel(Text("Speed: \(rate.formatted(.number.precision(.fractionLength(1)))) tokens a second"))
        }
        if let wait = speed.timeToFirstToken {
            Label("\(seconds(wait)) s to the first", systemImage: "timer")
                .accessibilityLabel(Text("First token after \(seconds(wait)) seconds"))
        }
        if let used = reading.used {
            Label { Text(verbatim: bytesText(used)) } icon: { Image(systemName: "memorychip") }
                .foregroundStyle(reading.isShort ? AnyShapeStyle(.red) : AnyShapeStyle(.secondary))
                .accessibilityLabel(Text("Memory used: \(bytesText(used))"))
                .accessibilityValue(left)
        }
        Label { heat } icon: { Image(systemName: "thermometer.medium") }
            .foregroundStyle(reading.isThrottled ? AnyShapeStyle(.orange) : AnyShapeStyle(.secondary))
    }

    private var left: Text {
        guard let available = reading.available else { return Text(verbatim: "") }
        return Text("\(bytesText(available)) left")
    }

    private var heat: Text {
        switch reading.heat {
        case .nominal: Text("Cool")
        case .fair: Text("Warm")
        case .serious: Text("Hot, slowed down")
        case .critical: Text("Too hot")
        }
    }

    private func seconds(_ duration: Duration) -> String {
        (duration / .seconds(1)).formatted(.number.precision(.fractionLength(2)))
    }
}
