// The task's port is a C variable, which the system sets once, before the app runs.
@preconcurrency import Darwin
import EdgeSWKit
import Foundation
import os

/// Reads the device's memory and thermal state.
func readDevice() -> DeviceReading {
    let available = Int(os_proc_available_memory())  // 0 if the app has no limit, as on a Mac
    let thermalState: DeviceReading.ThermalState =
        switch ProcessInfo.processInfo.thermalState {
        case .nominal: .nominal
        case .fair: .fair
        case .serious: .serious
        case .critical: .critical
        @unknown default: .critical
        }
    return DeviceReading(used: footprint(), available: available > 0 ? available : nil, thermalState: thermalState)
}

/// The memory that the system counts against the app's limit, in bytes. Weights that Core ML maps from files do not count.
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
