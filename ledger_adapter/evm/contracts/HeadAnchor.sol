// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";
import {RFC9162} from "./RFC9162.sol";

/// @title Heads of the operator's log, one per posted batch, that he cannot take back.
/// @notice Storage layout is part of the evidence format: `_heads` stands in slot 2 (see
/// ledger_adapter/verify/chain.py); there are no immutables, so that the code hash is one constant.
contract HeadAnchor is AccessControl, Pausable {
    bytes32 public constant POSTER_ROLE = keccak256("POSTER");
    bytes32 public constant PAUSER_ROLE = keccak256("PAUSER");

    struct Head {
        bytes32 root;
        uint64 first;
        uint64 size;
        uint64 postedAt;
    }

    struct Tip {
        uint64 size;
        uint64 windowStart;
        uint32 posted;
        uint32 limit;
        uint32 window;
    }

    mapping(bytes32 key => Head) private _heads;
    Tip private _tip;

    event HeadPosted(bytes32 indexed key, bytes32 root, uint64 first, uint64 size);
    event RateChanged(uint32 limit, uint32 window);

    error KeyConflict(bytes32 key);
    error SizeNotGrown(uint64 latest, uint64 size);
    error EmptyBatch(uint64 first, uint64 size);
    error RateExceeded(uint64 until);
    error UnknownKey(bytes32 key);
    error BadRate();

    /// @param admin who grants roles, unpauses and sets the rate: a time lock behind signatures
    /// @param limit posts allowed per `window` seconds
    constructor(address admin, address poster, address pauser, uint32 limit, uint32 window) {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(POSTER_ROLE, poster);
        _grantRole(PAUSER_ROLE, pauser);
        _setRate(limit, window);
    }

    /// @notice Post the head after a batch. The same again is no change; another under its key is refused.
    function post(bytes32 key, bytes32 root, uint64 first, uint64 size)
        external
        onlyRole(POSTER_ROLE)
        whenNotPaused
    {
        Head storage known = _heads[key];
        if (known.size != 0) {
            if (known.root != root || known.size != size || known.first != first) {
                revert KeyConflict(key);
            }
            return;
        }
        if (first >= size) revert EmptyBatch(first, size);
        Tip memory last = _tip;
        if (size <= last.size) revert SizeNotGrown(last.size, size);
        uint64 time = uint64(block.timestamp);
        if (time >= last.windowStart + last.window) {
            last.windowStart = time;
            last.posted = 0;
        }
        if (last.posted >= last.limit) revert RateExceeded(last.windowStart + last.window);
        last.posted += 1;
        last.size = size;
        _tip = last;
        _heads[key] = Head({root: root, first: first, size: size, postedAt: time});
        emit HeadPosted(key, root, first, size);
    }

    /// @notice The head of a key; size 0 where it was never posted.
    function head(bytes32 key) external view returns (Head memory) {
        return _heads[key];
    }

    /// @notice The largest size posted, and the state of the rate limit.
    function tip() external view returns (Tip memory) {
        return _tip;
    }

    /// @notice Whether a leaf stands at `index` of the tree whose head was posted under `key`.
    function includes(bytes32 key, bytes32 leafHash, uint64 index, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        Head storage known = _heads[key];
        if (known.size == 0) revert UnknownKey(key);
        return RFC9162.includes(leafHash, index, known.size, path, known.root);
    }

    /// @notice Stop posting; anybody trusted to pause may, only the admin may go on.
    function pause() external onlyRole(PAUSER_ROLE) {
        _pause();
    }

    function unpause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _unpause();
    }

    function setRate(uint32 limit, uint32 window) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _setRate(limit, window);
    }

    function _setRate(uint32 limit, uint32 window) private {
        if (limit == 0 || window == 0) revert BadRate();
        _tip.limit = limit;
        _tip.window = window;
        emit RateChanged(limit, window);
    }
}
