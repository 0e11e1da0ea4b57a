// The task's port is a C variable; the system sets it once, before the app runs.
@preconcurrency import Darwin
import EdgeSWKit
import Foundation
import os

/// The device's reading at this moment.
func readDevice() -> DeviceReading {
    let available = Int(os_proc_available_memory())  // 0 where the app has no limit, as on a Mac
    let heat: DeviceReading.Heat =
        switch ProcessInfo.processInfo.thermalState {
        case .nominal: .nominal
        case .fair: .fair
        case .serious: .serious
        case .critical: .critical
        @unknown default: .critical
        }
    return DeviceReading(used: footprint(), available: available > 0 ? available : nil, heat: heat)
}

/// What the system counts against the app's limit, in bytes. Weights that Core ML maps from files are not among it.
private func footprint() -> Int? {
    var info = task_vm_info_data_t()
    var count = mach_msg_type_number_t(MemoryLayout<task_vm_info_data_t>.size / MemoryLayout<integer_t>.size)
    let result = withUnsafeMutablePointer(to: &info) { pointer in
        pointer.withMemoryRebound(to: integer_t.self, capacity: Int(count)) {
            task_info(mach_task_self_, task_flavor_t(TASK_VM_INFO), $0, &count)
        }
    }
    return result == KERN_SUCCESS ? Int(info.phys_footprint) : nil
}
