// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "EdgeSWKit",
    platforms: [.iOS(.v18), .macOS(.v15), .visionOS(.v2)],
    products: [.library(name: "EdgeSWKit", targets: ["EdgeSWKit"])],
    targets: [
        .target(name: "EdgeSWKit"),
        .testTarget(name: "EdgeSWKitTests", dependencies: ["EdgeSWKit"], exclude: ["Golden"]),
    ]
)
