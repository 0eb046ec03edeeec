// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC1155} from "@openzeppelin/contracts/token/ERC1155/ERC1155.sol";
import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {AssetRegistry} from "./AssetRegistry.sol";
import {HeadAnchor} from "./HeadAnchor.sol";
import {RFC9162} from "./RFC9162.sol";

/// @title Energy certificates [Wh]: one class per interval, bus and source; minted from settled
/// energy against an inclusion proof in the anchored log, retired by burning.
/// @notice Nobody holds a role here. Who has the proof may mint; the energy goes to the asset's owner.
contract EnergyCertificates is ERC1155 {
    using Strings for uint256;

    HeadAnchor public anchor;
    AssetRegistry public registry;

    /// @notice Settled energy [Wh] that was minted, by asset and start of interval.
    mapping(uint256 asset => mapping(uint64 start => uint64)) public mintedWh;
    /// @notice Settled energy [Wh] that was minted, by class.
    mapping(uint256 id => uint256) public settledWh;
    /// @notice Energy retired [Wh], by class.
    mapping(uint256 id => uint256) public retiredWh;
    /// @notice Energy retired [Wh], by account and class.
    mapping(address account => mapping(uint256 id => uint256)) public retiredBy;

    struct Claim {
        uint256 asset;
        uint64 start;
        uint64 end;
        uint64 energyWh;
    }

    event Minted(uint256 indexed id, uint256 indexed asset, uint64 start, uint64 energyWh);
    event Retired(
        address indexed account, uint256 indexed id, uint256 energyWh, bytes32 indexed purpose
    );

    error AlreadyMinted(uint256 asset, uint64 start);
    error BadClaim();
    error NotCertified(uint256 asset, uint64 start);
    error AboveCapacity(uint256 energyWh, uint256 possibleWh);
    error NotInLog();
    error NotPermitted(address recipient);
    error NothingToRetire();

    constructor(HeadAnchor heads, AssetRegistry assets) ERC1155("") {
        anchor = heads;
        registry = assets;
    }

    /// @notice Class of an interval, bus and source.
    function classOf(uint64 start, uint64 end, uint32 bus, string memory source)
        public
        pure
        returns (uint256)
    {
        return uint256(keccak256(abi.encode(start, end, bus, source)));
    }

    /// @notice The leaf that a claim must have in the log: canonical JSON, as the log writes it.
    function leafOf(Claim memory claim, AssetRegistry.Asset memory asset)
        public
        view
        returns (bytes memory)
    {
        bytes memory first = abi.encodePacked(
            '{"asset":"', claim.asset.toString(),
            '","bus":"', uint256(asset.bus).toString(),
            '","end":"', uint256(claim.end).toString(),
            '","energy_wh":"', uint256(claim.energyWh).toString()
        );
        return abi.encodePacked(
            first,
            '","kind":"certificate","registry":"', Strings.toHexString(address(registry)),
            '","source":"', asset.source,
            '","start":"', uint256(claim.start).toString(),
            '"}'
        );
    }

    /// @notice Mint what a leaf of the log says was settled; once per asset and interval.
    /// @param recipient the asset's owner, or an account he permitted to collect
    function mint(
        Claim calldata claim,
        address recipient,
        bytes32 key,
        uint64 index,
        bytes32[] calldata path
    ) external returns (uint256 id) {
        // Intervals are quarter-hours on the clock, so that no two of one asset overlap.
        if (claim.energyWh == 0 || claim.start % 900 != 0 || claim.end != claim.start + 900) {
            revert BadClaim();
        }
        if (mintedWh[claim.asset][claim.start] != 0) revert AlreadyMinted(claim.asset, claim.start);
        AssetRegistry.Asset memory asset = registry.get(claim.asset);
        if (claim.start < asset.certifiedFrom || claim.end > asset.certifiedUntil) {
            revert NotCertified(claim.asset, claim.start);
        }
        uint256 possible = (uint256(asset.capacityWatt) * (claim.end - claim.start)) / 3600;
        if (claim.energyWh > possible) revert AboveCapacity(claim.energyWh, possible);
        address owner = registry.ownerOf(claim.asset);
        if (
            recipient != owner
                && !(msg.sender == recipient
                    && registry.permits(claim.asset, recipient, registry.MAY_COLLECT()))
        ) revert NotPermitted(recipient);
        bytes32 leaf = RFC9162.leafHash(leafOf(claim, asset));
        if (!anchor.includes(key, leaf, index, path)) revert NotInLog();
        mintedWh[claim.asset][claim.start] = claim.energyWh;
        id = classOf(claim.start, claim.end, asset.bus, asset.source);
        settledWh[id] += claim.energyWh;
        emit Minted(id, claim.asset, claim.start, claim.energyWh);
        _mint(recipient, id, claim.energyWh, "");
    }

    /// @notice Retire energy of the caller for good.
    /// @param purpose SHA-256 of what it is retired for, such as a participant's statement
    function retire(uint256 id, uint256 energyWh, bytes32 purpose) external {
        if (energyWh == 0) revert NothingToRetire();
        _burn(msg.sender, id, energyWh);
        retiredWh[id] += energyWh;
        retiredBy[msg.sender][id] += energyWh;
        emit Retired(msg.sender, id, energyWh, purpose);
    }
}
