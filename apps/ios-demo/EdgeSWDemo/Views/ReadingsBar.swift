import EdgeSWKit
import SwiftUI

/// The current speed, memory and thermal state.
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
                .accessibilityLabel(Text("Speed: \(rate.formatted(.number.precision(.fractionLength(1)))) tokens per second"))
        }
        if let delay = speed.timeToFirstToken {
            Label("\(seconds(delay)) s to first token", systemImage: "timer")
                .accessibilityLabel(Text("First token after \(seconds(delay)) seconds"))
        }
        if let used = reading.used {
            Label { Text(verbatim: bytesText(used)) } icon: { Image(systemName: "memorychip") }
                .foregroundStyle(reading.isLowOnMemory ? AnyShapeStyle(.red) : AnyShapeStyle(.secondary))
                .accessibilityLabel(Text("Memory used: \(bytesText(used))"))
                .accessibilityValue(availableMemory)
        }
        Label { thermalState } icon: { Image(systemName: "thermometer.medium") }
            .foregroundStyle(reading.isThrottled ? AnyShapeStyle(.orange) : AnyShapeStyle(.secondary))
    }

    private var availableMemory: Text {
        guard let available = reading.available else { return Text(verbatim: "") }
        return Text("\(bytesText(available)) left")
    }

    private var thermalState: Text {
        switch reading.thermalState {
        case .nominal: Text("Cool")
        case .fair: Text("Warm")
        case .serious: Text("Hot, throttled")
        case .critical: Text("Too hot")
        }
    }

    private func seconds(_ duration: Duration) -> String {
        (duration / .seconds(1)).formatted(.number.precision(.fractionLength(2)))
    }
}
