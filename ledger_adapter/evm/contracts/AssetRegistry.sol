// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// @title Producers' assets as ERC-721 tokens: technology, capacity, certification, histories.
contract AssetRegistry is ERC721, AccessControl {
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR");
    bytes32 public constant CERTIFIER_ROLE = keccak256("CERTIFIER");
    /// @notice Permission to write the maintenance root of an asset.
    uint8 public constant MAY_MAINTAIN = 1;
    /// @notice Permission to receive the asset's certificates in the owner's stead.
    uint8 public constant MAY_COLLECT = 2;

    struct Asset {
        string source;
        uint64 capacityWatt;
        uint32 bus;
        uint64 certifiedFrom;
        uint64 certifiedUntil;
        bytes32 maintenanceRoot;
        bytes32 productionRoot;
    }

    uint256 public count;
    mapping(uint256 asset => Asset) private _assets;
    mapping(uint256 asset => mapping(address owner => mapping(address account => uint8))) private
        _permissions;

    event AssetRegistered(uint256 indexed asset, string source, uint64 capacityWatt, uint32 bus);
    event AssetCertified(uint256 indexed asset, uint64 from, uint64 until);
    event HistoryChanged(uint256 indexed asset, bytes32 maintenanceRoot, bytes32 productionRoot);
    event PermissionSet(uint256 indexed asset, address indexed account, uint8 permission);

    error BadSource(string source);
    error NoCapacity();
    error BadSpan(uint64 from, uint64 until);
    error NotPermitted(uint256 asset, address account);

    constructor(address admin, address registrar, address certifier)
        ERC721("Gridclear asset", "GCA")
    {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(REGISTRAR_ROLE, registrar);
        _grantRole(CERTIFIER_ROLE, certifier);
    }

    /// @notice Register an asset of `owner`; returns its id, from 1.
    function register(address owner, string calldata source, uint64 capacityWatt, uint32 bus)
        external
        onlyRole(REGISTRAR_ROLE)
        returns (uint256 asset)
    {
        _checkSource(source);
        if (capacityWatt == 0) revert NoCapacity();
        asset = ++count;
        Asset storage added = _assets[asset];
        added.source = source;
        added.capacityWatt = capacityWatt;
        added.bus = bus;
        _mint(owner, asset); // not safeMint: the registrar names the owner, nothing is called back
        emit AssetRegistered(asset, source, capacityWatt, bus);
    }

    /// @notice Certify an asset for a span [s since 1970]; a later call replaces it.
    function certify(uint256 asset, uint64 from, uint64 until) external onlyRole(CERTIFIER_ROLE) {
        _requireOwned(asset);
        if (until <= from) revert BadSpan(from, until);
        _assets[asset].certifiedFrom = from;
        _assets[asset].certifiedUntil = until;
        emit AssetCertified(asset, from, until);
    }

    /// @notice Put down the root of the maintenance history: the owner, or whom he permitted.
    function setMaintenanceRoot(uint256 asset, bytes32 root) external {
        address owner = _requireOwned(asset);
        if (msg.sender != owner && !permits(asset, msg.sender, MAY_MAINTAIN)) {
            revert NotPermitted(asset, msg.sender);
        }
        _assets[asset].maintenanceRoot = root;
        emit HistoryChanged(asset, root, _assets[asset].productionRoot);
    }

    /// @notice Put down the root of the production history: the operator's registrar.
    function setProductionRoot(uint256 asset, bytes32 root) external onlyRole(REGISTRAR_ROLE) {
        _requireOwned(asset);
        _assets[asset].productionRoot = root;
        emit HistoryChanged(asset, _assets[asset].maintenanceRoot, root);
    }

    /// @notice Give an account permissions on an asset; they end when the asset changes hands.
    function setPermission(uint256 asset, address account, uint8 permission) external {
        if (_requireOwned(asset) != msg.sender) revert NotPermitted(asset, msg.sender);
        _permissions[asset][msg.sender][account] = permission;
        emit PermissionSet(asset, account, permission);
    }

    function permits(uint256 asset, address account, uint8 permission) public view returns (bool) {
        address owner = _requireOwned(asset);
        return _permissions[asset][owner][account] & permission == permission;
    }

    function get(uint256 asset) external view returns (Asset memory) {
        _requireOwned(asset);
        return _assets[asset];
    }

    function supportsInterface(bytes4 id)
        public
        view
        override(ERC721, AccessControl)
        returns (bool)
    {
        return super.supportsInterface(id);
    }

    /// @dev Certificates write the source into a canonical JSON leaf, which knows no escapes here.
    function _checkSource(string calldata source) private pure {
        bytes calldata text = bytes(source);
        if (text.length == 0 || text.length > 31) revert BadSource(source);
        for (uint256 place = 0; place < text.length; ++place) {
            bytes1 sign = text[place];
            bool plain = (sign >= "a" && sign <= "z") || (sign >= "0" && sign <= "9")
                || sign == "_" || sign == "-";
            if (!plain) revert BadSource(source);
        }
    }
}
