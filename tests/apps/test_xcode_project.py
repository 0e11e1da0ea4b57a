"""The demo's Xcode project, checked without Xcode: the files that it names exist, and its parts agree."""

from __future__ import annotations

import json
import plistlib
import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openstep
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "apps" / "ios-demo"
PROJECT = DEMO / "EdgeSWDemo.xcodeproj"
RESOURCES = DEMO / "EdgeSWDemo" / "Resources"
ID = re.compile(r"[0-9A-F]{24}")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return openstep.parse((PROJECT / "project.pbxproj").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return yaml.safe_load((DEMO / "project.yml").read_text(encoding="utf-8"))


def of(project: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in project["objects"].values() if each["isa"] == kind]


def target_settings(project: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the settings of Debug and Release of the only target."""
    (target,) = of(project, "PBXNativeTarget")
    names = project["objects"][target["buildConfigurationList"]]["buildConfigurations"]
    return [project["objects"][name]["buildSettings"] for name in names]


def test_the_reader_of_projects_refuses_what_xcode_would() -> None:
    """Otherwise it would accept a broken project."""
    assert openstep.parse('// !$*UTF8*$!\n{a = (1, "b c",); /* x */ d = {};}') == {"a": ["1", "b c"], "d": {}}
    for wrong in ("{a = 1}", "{a = 1; a = 2;}", "{a = (1 2);}", "{a = b-c;}", "{} {}", '{a = "x;}'):
        with pytest.raises((ValueError, IndexError)):
            openstep.parse(wrong)


def test_every_object_is_there_and_used(project: dict[str, Any]) -> None:
    """Xcode does not open a project with a dangling id, and says only that it is damaged."""
    assert project["archiveVersion"] == "1" and project["objectVersion"] == "77"
    objects = project["objects"]
    assert all(ID.fullmatch(name) and each.get("isa") for name, each in objects.items())

    def ids(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set().union(*(ids(inner) for inner in (*value, *value.values())), set())
        if isinstance(value, list):
            return set().union(*map(ids, value), set())
        return {value} if ID.fullmatch(value) else set()

    named = ids(project["rootObject"]) | ids(list(objects.values()))
    assert named == objects.keys()
    assert objects[project["rootObject"]]["isa"] == "PBXProject"


def test_the_files_it_names_exist(project: dict[str, Any]) -> None:
    """Missing files are red in Xcode, and the build stops at the first of them."""
    (sources,) = of(project, "PBXFileSystemSynchronizedRootGroup")
    assert any((DEMO / sources["path"]).glob("*.swift"))
    (kit,) = of(project, "XCLocalSwiftPackageReference")
    manifest = (DEMO / kit["relativePath"] / "Package.swift").read_text(encoding="utf-8")
    (product,) = of(project, "XCSwiftPackageProductDependency")
    assert f'.library(name: "{product["productName"]}"' in manifest
    folders = {each["path"]: (DEMO / each["path"]).is_dir() for each in of(project, "PBXFileReference")
               if each.get("lastKnownFileType") == "folder"}  # fmt: skip
    assert folders == {"Packages": True}, "the folder that `edgesw demo-app` fills"
    for settings in target_settings(project):
        for name in ("INFOPLIST_FILE", "CODE_SIGN_ENTITLEMENTS"):
            assert (DEMO / settings[name]).is_file()
        catalog = RESOURCES / "Assets.xcassets"
        assert (catalog / f"{settings['ASSETCATALOG_COMPILER_APPICON_NAME']}.appiconset").is_dir()
        assert (catalog / f"{settings['ASSETCATALOG_COMPILER_GLOBAL_ACCENT_COLOR_NAME']}.colorset").is_dir()


def test_xcodegen_would_write_the_same_settings(project: dict[str, Any], spec: dict[str, Any]) -> None:
    """Users of XcodeGen must get the same app."""
    (name,) = spec["targets"]
    expected = spec["targets"][name]["settings"]["base"]
    debug, release = target_settings(project)
    assert debug == release
    own = {"PRODUCT_NAME", "LD_RUNPATH_SEARCH_PATHS"}  # set by XcodeGen itself
    assert {key: value for key, value in debug.items() if key not in own} == expected
    (target,) = of(project, "PBXNativeTarget")
    assert target["name"] == name
    deployment = {
        each["buildSettings"].get("IPHONEOS_DEPLOYMENT_TARGET") for each in of(project, "XCBuildConfiguration")
    }
    assert deployment - {None} == {spec["options"]["deploymentTarget"]["iOS"]}
    kit = (DEMO / spec["packages"]["EdgeSWKit"]["path"] / "Package.swift").read_text(encoding="utf-8")
    assert ".iOS(.v18)" in kit and spec["options"]["deploymentTarget"]["iOS"] == "18.0"
    assert [each["path"] for each in spec["targets"][name]["sources"]] == ["EdgeSWDemo", "Packages"]


def test_it_contains_no_development_team(project: dict[str, Any]) -> None:
    """With another person's team, Xcode cannot sign the app."""
    assert {settings["DEVELOPMENT_TEAM"] for settings in target_settings(project)} == {""}


def test_the_scheme_builds_the_target(project: dict[str, Any]) -> None:
    """`xcodebuild -scheme EdgeSWDemo` and the Run button need it."""
    scheme = ElementTree.parse(PROJECT / "xcshareddata" / "xcschemes" / "EdgeSWDemo.xcscheme")
    found = scheme.findall(".//BuildableReference")
    assert found
    for each in found:
        target = project["objects"][each.attrib["BlueprintIdentifier"]]
        assert target["name"] == each.attrib["BlueprintName"] and target["isa"] == "PBXNativeTarget"
        assert each.attrib["ReferencedContainer"] == f"container:{PROJECT.name}"


def test_the_property_lists_say_what_the_app_does() -> None:
    """Without them, the Files app does not show the app's folder, and large models do not get enough memory."""
    info = plistlib.loads((DEMO / "Config" / "Info.plist").read_bytes())
    assert info["CFBundleIdentifier"] == "$(PRODUCT_BUNDLE_IDENTIFIER)"
    assert info["UIFileSharingEnabled"] is True and info["LSSupportsOpeningDocumentsInPlace"] is True
    entitlements = plistlib.loads((DEMO / "Config" / "EdgeSWDemo.entitlements").read_bytes())
    assert entitlements == {"com.apple.developer.kernel.increased-memory-limit": True}


# The APIs that need a reason (Apple: "Describing use of required reason API"), as they occur in Swift.
REASONED = {
    "NSPrivacyAccessedAPICategoryUserDefaults": r"\bUserDefaults\b|@AppStorage|@SceneStorage",
    "NSPrivacyAccessedAPICategoryDiskSpace": r"volumeAvailableCapacity|volumeTotalCapacity|systemFreeSize|systemSize|"
    r"\bstatfs\b|\bstatvfs\b|attributesOfFileSystem",
    "NSPrivacyAccessedAPICategoryFileTimestamp": r"\.(?:content|file)?[mM]odificationDate|\.creationDate|"
    r"ModificationDateKey|CreationDateKey|\bf?l?stat\(|\bgetattrlist",
    "NSPrivacyAccessedAPICategorySystemBootTime": r"systemUptime|mach_absolute_time",
    "NSPrivacyAccessedAPICategoryActiveKeyboards": r"activeInputModes",
}


def test_the_privacy_manifest_lists_what_the_sources_use() -> None:
    """The App Store rejects a build that uses one of these without a reason; an unused entry would be untrue."""
    folders = (DEMO / "EdgeSWDemo", DEMO / "EdgeSWKit" / "Sources")
    sources = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.swift"))
    used = {category for category, pattern in REASONED.items() if re.search(pattern, sources)}
    manifest = plistlib.loads((RESOURCES / "PrivacyInfo.xcprivacy").read_bytes())
    listed = {each["NSPrivacyAccessedAPIType"] for each in manifest["NSPrivacyAccessedAPITypes"]}
    assert listed == used
    assert all(each["NSPrivacyAccessedAPITypeReasons"] for each in manifest["NSPrivacyAccessedAPITypes"])
    assert manifest["NSPrivacyTracking"] is False and manifest["NSPrivacyCollectedDataTypes"] == []


def test_the_icon_has_its_three_looks() -> None:
    """The App Store rejects an icon of another size or with an alpha channel."""
    folder = RESOURCES / "Assets.xcassets" / "AppIcon.appiconset"
    images = json.loads((folder / "Contents.json").read_text())["images"]
    looks = [each["appearances"][0]["value"] if "appearances" in each else "light" for each in images]
    assert looks == ["light", "dark", "tinted"]
    for each in images:
        with Image.open(folder / each["filename"]) as icon:
            assert icon.size == (1024, 1024) and icon.mode in ("RGB", "L") and "transparency" not in icon.info


def test_the_list_of_hub_packages_is_what_the_app_reads() -> None:
    """With a damaged list, the first screen shows an error. Each entry names one commit: see HubPackage.swift."""
    for entry in json.loads((RESOURCES / "hub-packages.json").read_text()):
        assert entry.keys() == {"name", "repository", "revision", "bytes", "summary"}
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry["repository"]) and re.fullmatch(
            r"[0-9a-f]{40}", entry["revision"]
        )


def test_packages_of_demo_app_are_not_committed() -> None:
    """Otherwise a pull request could contain gigabytes of somebody's model."""
    name = "apps/ios-demo/Packages/tiny-4bit/model.mlpackage/Manifest.json"
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git repository")
    ran = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT, check=False)
    assert ran.returncode == 0
