import EdgeSWKit
import SwiftUI
import UniformTypeIdentifiers

/// The first screen: packages from Files, from the app itself or from the Hub.
struct LibraryView: View {
    let library: LibraryModel

    @Environment(AppModel.self) private var app
    @State private var isPicking = false

    var body: some View {
        NavigationStack {
            List {
                if let activity = library.activity {
                    ActivitySection(activity: activity) { library.cancel() }
                }
                if let problem = library.problem {
                    Section {
                        Label { Text(verbatim: problem) } icon: { Image(systemName: "exclamationmark.triangle") }
                            .foregroundStyle(.red)
                    }
                }
                packages
                Section {
                    Button("Choose a package from Files", systemImage: "folder") { isPicking = true }
                        .disabled(library.activity != nil)
                        .accessibilityHint(Text("Copies a folder that edgesw convert wrote into the app."))
                } footer: {
                    Text("A package is a folder that edgesw convert writes. It contains a manifest.json.")
                }
                HubSection(library: library) { app.packageAdded($0) }
                if library.hasUnfinished, library.activity == nil {
                    Button("Remove unfinished downloads", role: .destructive) { library.removeUnfinished() }
                }
            }
            .navigationTitle(Text("Packages"))
            .fileImporter(isPresented: $isPicking, allowedContentTypes: [.folder]) { result in
                switch result {
                case .success(let folder): library.add(from: folder) { app.packageAdded($0) }
                case .failure(let error): library.problem = error.localizedDescription
                }
            }
            .onAppear { library.refresh() }
        }
    }

    @ViewBuilder private var packages: some View {
        if !library.bundled.isEmpty {
            Section {
                ForEach(library.bundled) { row($0) }
            } header: {
                Text("Built into this app")
            }
        }
        if !library.stored.isEmpty {
            Section {
                ForEach(library.stored) { location in
                    row(location).swipeActions {
                        Button("Remove", systemImage: "trash", role: .destructive) { library.remove(location) }
                    }
                }
            } header: {
                Text("On this device")
            }
        }
        if library.bundled.isEmpty, library.stored.isEmpty, library.activity == nil {
            ContentUnavailableView {
                Label("No package yet", systemImage: "shippingbox")
            } description: {
                Text("Create one on your computer: edgesw convert smollm2-135m --target coreml --bits 4. Then build it into the app with edgesw demo-app, or copy its folder to this device with AirDrop, iCloud or the Finder.")
            }
        }
    }

    private func row(_ location: PackageLocation) -> some View {
        Button {
            app.open(location)
        } label: {
            HStack {
                Text(verbatim: location.name)
                Spacer()
                Image(systemName: "chevron.forward").foregroundStyle(.tertiary).accessibilityHidden(true)
            }
        }
        .foregroundStyle(.primary)
        .accessibilityHint(Text("Checks the package and opens a conversation."))
    }
}

/// The copy or download in progress, and a button to cancel it.
private struct ActivitySection: View {
    let activity: LibraryModel.Activity
    let cancel: @MainActor () -> Void

    var body: some View {
        Section {
            ProgressView(value: min(1, activity.fraction)) {
                Text("Adding “\(activity.name)”")
            } currentValueLabel: {
                Text(verbatim: activity.fraction.formatted(.percent.precision(.fractionLength(0))))
            }
            Button("Cancel", role: .cancel, action: cancel)
        }
    }
}

/// The built-in list of packages on the Hugging Face Hub.
private struct HubSection: View {
    let library: LibraryModel
    let onAdded: @MainActor (PackageLocation) -> Void

    var body: some View {
        Section {
            if library.hub.isEmpty {
                Text("No package has been published yet. To offer yours here: edgesw push PACKAGE OWNER/NAME, then add it to hub-packages.json.")
                    .font(.callout)
                    .foregroundStyle(.secondary)
            }
            ForEach(library.hub) { package in
                Button {
                    library.add(package, done: onAdded)
                } label: {
                    LabeledContent {
                        Text(verbatim: bytesText(package.bytes))
                    } label: {
                        Text(verbatim: package.name)
                        Text(verbatim: package.summary)
                    }
                }
                .disabled(library.activity != nil)
                .accessibilityHint(Text("Downloads the package and checks it."))
            }
        } header: {
            Text("From the Hugging Face Hub")
        }
    }
}
