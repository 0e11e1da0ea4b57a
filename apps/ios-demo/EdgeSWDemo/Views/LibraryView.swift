import EdgeSWKit
import SwiftUI
import UniformTypeIdentifiers

/// The first screen: a package from Files, from the app itself or from the hub.
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
                        .accessibilityHint(Text("Copies a folder that edgesw convert made into the app."))
                } footer: {
                    Text("A package is the folder that edgesw convert makes, with its manifest.json.")
                }
                HubSection(library: library) { app.arrived($0) }
                if library.hasUnfinished, library.activity == nil {
                    Button("Remove unfinished downloads", role: .destructive) { library.removeUnfinished() }
                }
            }
            .navigationTitle(Text("Packages"))
            .fileImporter(isPresented: $isPicking, allowedContentTypes: [.folder]) { result in
                switch result {
                case .success(let folder): library.add(from: folder) { app.arrived($0) }
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
        if !library.kept.isEmpty {
            Section {
                ForEach(library.kept) { place in
                    row(place).swipeActions {
                        Button("Remove", systemImage: "trash", role: .destructive) { library.remove(place) }
                    }
                }
            } header: {
                Text("On this device")
            }
        }
        if library.bundled.isEmpty, library.kept.isEmpty, library.activity == nil {
            ContentUnavailableView {
                Label("No package yet", systemImage: "shippingbox")
            } description: {
                Text("Make one on your computer: edgesw convert smollm2-135m --target coreml --bits 4. Then edgesw demo-app builds it in, or copy its folder to this device with AirDrop, iCloud or the Finder.")
            }
        }
    }

    private func row(_ place: PackagePlace) -> some View {
        Button {
            app.open(place)
        } label: {
            HStack {
                Text(verbatim: place.name)
                Spacer()
                Image(systemName: "chevron.forward").foregroundStyle(.tertiary).accessibilityHidden(true)
            }
        }
        .foregroundStyle(.primary)
        .accessibilityHint(Text("Checks the package and opens a conversation."))
    }
}

/// What is being copied or fetched, and the way to end it.
private struct ActivitySection: View {
    let activity: LibraryModel.Activity
    let cancel: @MainActor () -> Void

    var body: some View {
        Section {
            ProgressView(value: min(1, activity.share)) {
                Text("Bringing in “\(activity.name)”")
            } currentValueLabel: {
                Text(verbatim: activity.share.formatted(.percent.precision(.fractionLength(0))))
            }
            Button("Cancel", role: .cancel, action: cancel)
        }
    }
}

/// The built-in list of packages on the Hugging Face hub.
private struct HubSection: View {
    let library: LibraryModel
    let arrived: @MainActor (PackagePlace) -> Void

    var body: some View {
        Section {
            if library.hub.isEmpty {
                Text("No package has been published yet. To offer yours here: edgesw push PACKAGE OWNER/NAME, then add it to hub-packages.json.")
                    .font(.callout)
                    .foregroundStyle(.secondary)
            }
            ForEach(library.hub) { package in
                Button {
                    library.add(package, done: arrived)
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
            Text("From the Hugging Face hub")
        }
    }
}
